// The virtual network on bare MessageChannels.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Connector, Network, PortSocket, WorkerHost } from "../../docs/assets/lab/network.js";

const bytes = (text) => new TextEncoder().encode(text);
const text = (data) => new TextDecoder().decode(data);

/** A host that echoes; remembers its connections. */
function echo(tcpPorts) {
  const sockets = [];
  const worker = {
    postMessage({ port }) {
      const socket = new PortSocket(port);
      sockets.push(socket);
      socket.listen((data) => (data === undefined ? socket.close() : socket.write(data)));
    },
  };
  return { host: new WorkerHost(worker, tcpPorts), sockets };
}

/** A connector that asks *network* directly, as a Worker asks the page. */
function connectorTo(network) {
  const connector = new Connector(({ id, host, tcpPort, port }) => {
    const error = network.connect(host, tcpPort, port);
    queueMicrotask(() => connector.connected({ id, error }));
  });
  return connector;
}

function networkWith(name, host) {
  const network = new Network();
  network.add(name, host);
  return network;
}

test("bytes go to the server and back", async () => {
  const { host, sockets } = echo([6379]);
  const socket = await connectorTo(networkWith("redis", host)).connect("redis", 6379);
  socket.write(bytes("PING"));
  assert.equal(text(await socket.next(1000)), "PING");
  socket.close();
  sockets[0].close();
});

test("what arrived before anybody listened is not lost", async () => {
  const { port1, port2 } = new MessageChannel();
  const near = new PortSocket(port1);
  const far = new PortSocket(port2);
  far.write(bytes("a"));
  far.write(bytes("b"));
  assert.equal(text(await near.next(1000)), "a");
  const rest = [];
  await new Promise((resolve) =>
    near.listen((data) => {
      rest.push(text(data));
      resolve();
    }),
  );
  assert.deepEqual(rest, ["b"]);
  near.close();
});

test("the end of the other side is undefined", async () => {
  const { port1, port2 } = new MessageChannel();
  const near = new PortSocket(port1);
  new PortSocket(port2).close();
  assert.equal(await near.next(1000), undefined);
});

test("reading gives up after its time with false", async () => {
  const { port1 } = new MessageChannel();
  const near = new PortSocket(port1);
  assert.equal(near.poll(), false);
  assert.equal(await near.next(1), false);
  near.close();
});

test("an unknown host and a closed port are refused by name", async () => {
  const { host } = echo([6379]);
  const connector = connectorTo(networkWith("redis", host));
  await assert.rejects(connector.connect("nosuch", 6379), { message: "ENOTFOUND" });
  await assert.rejects(connector.connect("redis", 1), { message: "ECONNREFUSED" });
  host.up = false;
  await assert.rejects(connector.connect("redis", 6379), { message: "ECONNREFUSED" });
});

test("nothing is written after close", () => {
  const { port1, port2 } = new MessageChannel();
  const socket = new PortSocket(port1);
  socket.close();
  assert.doesNotThrow(() => socket.write(bytes("late")));
  port2.close();
});
