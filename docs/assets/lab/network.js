// @ts-check
// The lab's network: TCP connections as MessagePorts between interpreters.
//
// On a port a Uint8Array is bytes and the string "FIN" is the end. Name resolution and the
// accept of a connection happen on the page (class Network); afterwards the two ends talk
// directly. A server of any kind is a Host: something that takes MessagePorts.

const FIN = "FIN";

/** One end of a connection, as the Python side uses it (lab_sockets.py, lab_redis.py). */
export class PortSocket {
  /** @type {(Uint8Array | undefined)[]} */
  #arrived = [];
  /** @type {((data: Uint8Array | undefined) => void) | null} */
  #listener = null;
  /** @type {(() => void) | null} */
  #wakeReader = null;
  #closed = false;

  /** @param {MessagePort} port */
  constructor(port) {
    this.port = port;
    port.onmessage = ({ data }) => this.#push(data === FIN ? undefined : data);
    port.addEventListener("close", () => this.#push(undefined)); // the other side was killed
    port.start();
  }

  /** @param {Uint8Array | undefined} data undefined: the other side closed */
  #push(data) {
    if (this.#closed) return;
    if (this.#listener) this.#listener(data);
    else this.#arrived.push(data);
    this.#wakeReader?.();
  }

  /** Hand over everything that arrives, also what already did. @param {(data: Uint8Array | undefined) => void} listener */
  listen(listener) {
    this.#listener = listener;
    for (const data of this.#arrived.splice(0)) listener(data);
  }

  /** The next bytes, undefined at the end, false when nothing is there. */
  poll() {
    return this.#arrived.length ? this.#arrived.shift() : false;
  }

  /** `next` in a box, for lab_threads.block_on. @param {number} milliseconds */
  read(milliseconds) {
    return { promise: this.next(milliseconds) };
  }

  /**
   * Wait for `poll` to give something. @param {number} milliseconds -1: for ever
   * @returns {Promise<Uint8Array | undefined | false>} false: the time is over
   */
  async next(milliseconds) {
    if (!this.#arrived.length) {
      await new Promise((resolve) => {
        const timer = milliseconds < 0 ? null : setTimeout(resolve, milliseconds);
        this.#wakeReader = () => {
          if (timer !== null) clearTimeout(timer);
          resolve(undefined);
        };
      });
      this.#wakeReader = null;
    }
    return this.poll();
  }

  /** @param {Uint8Array} bytes */
  write(bytes) {
    if (!this.#closed) this.port.postMessage(bytes);
  }

  close() {
    if (this.#closed) return;
    this.#closed = true;
    this.#listener = null;
    this.port.postMessage(FIN);
    this.port.close();
  }
}

/**
 * A machine on the network: it is asked to accept ports and says which it listens on.
 * @typedef {{ accept(tcpPort: number, port: MessagePort): boolean }} Host
 */

/** Why a connection could not be made; the names that lab_sockets.py looks for.
 * @typedef {"ENOTFOUND" | "ECONNREFUSED"} ConnectError */

/** Name resolution and connect, on the page. */
export class Network {
  /** @type {Map<string, Host>} */
  #hosts = new Map();

  /** @param {string} name @param {Host} host */
  add(name, host) {
    this.#hosts.set(name, host);
  }

  /** @param {string} name */
  remove(name) {
    this.#hosts.delete(name);
  }

  /**
   * Give *port* to the server at host:tcpPort.
   * @param {string} name @param {number} tcpPort @param {MessagePort} port
   * @returns {ConnectError | null} null when the server has taken it
   */
  connect(name, tcpPort, port) {
    const host = this.#hosts.get(name);
    if (!host) return "ENOTFOUND";
    return host.accept(tcpPort, port) ? null : "ECONNREFUSED";
  }
}

/** A host that is a Worker taking `{ type: "accept", port }`, open on some TCP ports. */
export class WorkerHost {
  /** @param {Pick<Worker, "postMessage">} worker @param {number[]} tcpPorts */
  constructor(worker, tcpPorts) {
    this.worker = worker;
    this.tcpPorts = new Set(tcpPorts);
    this.up = true;
  }

  /** @param {number} tcpPort @param {MessagePort} port */
  accept(tcpPort, port) {
    if (!this.up || !this.tcpPorts.has(tcpPort)) return false;
    this.worker.postMessage({ type: "accept", tcpPort, port }, [port]);
    return true;
  }
}

/** The connecting side inside a Worker: asks the page, resolves to a PortSocket. */
export class Connector {
  /** @type {Map<number, { resolve: () => void, reject: (error: Error) => void }>} */
  #waiting = new Map();
  #last = 0;

  /** @param {(message: any, transfer: Transferable[]) => void} post */
  constructor(post) {
    this.post = post;
  }

  /** @param {string} host @param {number} tcpPort @returns {Promise<PortSocket>} */
  connect(host, tcpPort) {
    const { port1, port2 } = new MessageChannel();
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: () => resolve(new PortSocket(port1)), reject });
      this.post({ type: "connect", id, host: String(host), tcpPort: Number(tcpPort), port: port2 }, [port2]);
    });
  }

  /** The page's answer. @param {{ id: number, error: ConnectError | null }} answer */
  connected({ id, error }) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) waiting?.reject(new Error(error));
    else waiting?.resolve();
  }
}
