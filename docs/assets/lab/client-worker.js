// @ts-check
// One more interpreter, outside the cluster: the client that plays the experiment, and the
// host "redis". Speaks with client.js; Python is lab_client.py and lab_redis.py.

import { bootInterpreter } from "./interpreter.js";
import { Connector, PortSocket } from "./network.js";

/** @typedef {import("./protocol.js").BootConfig} BootConfig */

const REDIS_PORT = 6379;

/** @type {any} */
let python = null;
/** @type {(name: string) => any} */
let load;
/** @type {((buffer: ArrayBuffer) => void) | null} */
let takeSnapshot = null;

const post = (/** @type {any} */ message, /** @type {Transferable[]} */ transfer = []) => self.postMessage(message, { transfer });
const connector = new Connector(post);

/** Write the engine's modules; only this interpreter needs them. @param {any} FS @param {ArrayBuffer} archive */
function writeEngine(FS, archive) {
  const bytes = new Uint8Array(archive);
  const base = 4 + new DataView(archive).getUint32(0, true);
  for (const [path, at, length] of JSON.parse(new TextDecoder().decode(bytes.subarray(4, base)))) {
    FS.mkdirTree(path.slice(0, path.lastIndexOf("/")));
    FS.writeFile(path, bytes.subarray(base + at, base + at + length));
  }
}

/** @param {{ config: BootConfig, image: string, engine: ArrayBuffer }} message */
async function boot({ config, image, engine }) {
  const { pyodide, capabilities } = await bootInterpreter(config, image, {
    borrow: () =>
      new Promise((resolve) => {
        takeSnapshot = resolve;
        post({ type: "borrow" });
      }),
    giveBack: (buffer) => post({ type: "give-back", buffer }, [buffer]),
    emit: (json) => post({ type: "output", json }),
    connect: (host, port) => connector.connect(host, port),
    fatal,
  });
  writeEngine(pyodide.FS, engine);
  load = (name) => pyodide.pyimport(name);
  python = { client: pyodide.pyimport("lab_client"), files: pyodide.pyimport("lab_files"), redis: pyodide.pyimport("lab_redis") };
  python.redis.start();
  post({ type: "ready", capabilities });
}

/** @param {any} message */
async function handle(message) {
  const answer = (/** @type {any} */ value) => post({ type: "answer", id: message.id, value });
  switch (message.type) {
    case "boot":
      return boot(message);
    case "snapshot":
      return takeSnapshot?.(message.buffer);
    case "check":
      return answer(python.files.check(JSON.stringify(message.files)));
    case "prepare":
      return answer(python.client.prepare(JSON.stringify(message.files), message.module, message.drill));
    case "run":
      return answer(await python.client.run(JSON.stringify(message.files), message.module, message.drill));
    case "open-notebook":
      python.files.write(JSON.stringify(message.files));
      python.cells = load("lab_cells");
      python.cells.configure(message.workers);
      return answer(null);
    case "execute":
      return answer(await python.cells.execute(message.ident, message.source));
    case "answer-cell":
      return python.cells.answer(message.number, message.value);
    case "draw":
      return answer(python.client.draw(JSON.stringify(message.options)));
    case "cancel":
      return python.client.cancel();
    case "note":
      return python?.client.note(JSON.stringify(message.event));
    case "deliver":
      return python.client.deliver(message.batch);
    case "accept":
      if (message.tcpPort === REDIS_PORT) python.redis.accept(new PortSocket(message.port));
      return;
    case "service":
      if (message.up) python.redis.start();
      else python.redis.stop();
      return answer(null);
    case "connected":
      return connector.connected(message);
  }
}

/** Nothing fails in silence: the page ends this Worker and says why. @param {any} error */
function fatal(error) {
  post({ type: "fatal", layout: error?.name === "LayoutError", detail: String(error?.message ?? error).slice(0, 2000) });
}

self.addEventListener("unhandledrejection", ({ reason }) => fatal(reason));
self.onmessage = ({ data }) => {
  handle(data).catch(fatal);
};
