// @ts-check
// The host "db" of the lab's network: PostgreSQL (PGlite) behind its wire protocol on port 5432.
//
// PGlite is one backend for all. A connection gets it for a whole transaction, the others wait;
// so there are no lock waits between transactions and nothing to see of isolation. Not part of
// the first download: only a topic that asks for the service "db" loads it.

/** One connection's share of the backend: held from the first statement to the end of its transaction. */
class Turns {
  /** @type {object | null} */
  #owner = null;
  /** @type {{ owner: object, start: () => void }[]} */
  #queue = [];

  /** @param {object} owner @returns {Promise<void>} */
  take(owner) {
    if (this.#owner === null || this.#owner === owner) {
      this.#owner = owner;
      return Promise.resolve();
    }
    return new Promise((start) => this.#queue.push({ owner, start }));
  }

  /** @param {object} owner */
  release(owner) {
    if (this.#owner !== owner) return;
    const next = this.#queue.shift();
    this.#owner = next?.owner ?? null;
    next?.start();
  }

  /** @param {object} owner */
  holds(owner) {
    return this.#owner === owner;
  }

  /** @param {object} owner */
  forget(owner) {
    this.#queue = this.#queue.filter((entry) => entry.owner !== owner);
    this.release(owner);
  }
}

const SSL_REQUEST = 80877103;
const CANCEL_REQUEST = 80877102;
const TERMINATE = 0x58; // X
const READY_FOR_QUERY = 0x5a; // Z
const IDLE = 0x49; // I
const encoder = new TextEncoder();
const turns = new Turns();

/** @param {number} n @returns {number[]} */
const int32 = (n) => [(n >>> 24) & 255, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];
/** @param {string} type @param {number[]} body */
const message = (type, body) => [type.charCodeAt(0), ...int32(body.length + 4), ...body];
/** @param {string} name @param {string} value */
const parameter = (name, value) => message("S", [...encoder.encode(name), 0, ...encoder.encode(value), 0]);

/** AuthenticationOk, what drivers want to know about the server, a key, ReadyForQuery. @param {string} version */
const greeting = (version) =>
  new Uint8Array([
    ...message("R", int32(0)),
    ...Object.entries({
      server_version: version,
      client_encoding: "UTF8",
      server_encoding: "UTF8",
      DateStyle: "ISO, MDY",
      integer_datetimes: "on",
      standard_conforming_strings: "on",
      TimeZone: "UTC",
    }).flatMap(([name, value]) => parameter(name, value)),
    ...message("K", [...int32(1), ...int32(2)]),
    ...message("Z", [IDLE]),
  ]);

class Session {
  #buffer = new Uint8Array(0);
  #started = false;
  /** @type {Promise<void>} */
  #work = Promise.resolve();

  /** @param {any} db @param {string} version @param {MessagePort} port */
  constructor(db, version, port) {
    this.db = db;
    this.version = version;
    this.port = port;
    port.onmessage = ({ data }) => this.#queue(() => (data === "FIN" ? this.#end() : this.#receive(data)));
    port.addEventListener("close", () => this.#queue(() => this.#end()));
    port.start();
  }

  /** @param {() => Promise<void> | void} step */
  #queue(step) {
    this.#work = this.#work.then(step).catch((error) => {
      self.postMessage({ type: "log", text: String(error) });
      return this.#end();
    });
  }

  async #end() {
    if (turns.holds(this)) await this.db.query("rollback").catch(() => {});
    turns.forget(this);
    this.port.postMessage("FIN");
    this.port.close();
  }

  /** @param {Uint8Array} data */
  async #receive(data) {
    const joined = new Uint8Array(this.#buffer.length + data.length);
    joined.set(this.#buffer);
    joined.set(data, this.#buffer.length);
    this.#buffer = joined;
    while (!this.#started) if (!this.#startup()) return;
    const whole = this.#wholeMessages();
    if (!whole.length) return;
    if (whole[0] === TERMINATE) return this.#end();
    await turns.take(this);
    const reply = await this.db.execProtocolRaw(whole);
    if (transactionStatus(reply) === IDLE) turns.release(this);
    this.port.postMessage(reply);
  }

  /** @returns {boolean} whether a start-up packet was taken from the buffer */
  #startup() {
    if (this.#buffer.length < 8) return false;
    const view = new DataView(this.#buffer.buffer, this.#buffer.byteOffset);
    const length = view.getUint32(0);
    const code = view.getUint32(4);
    if (this.#buffer.length < length) return false;
    this.#buffer = this.#buffer.slice(length);
    if (code === SSL_REQUEST) this.port.postMessage(new Uint8Array([0x4e])); // N: no TLS here
    else if (code !== CANCEL_REQUEST) {
      this.#started = true;
      this.port.postMessage(greeting(this.version));
    }
    return true;
  }

  /** Cut the complete messages off the buffer. */
  #wholeMessages() {
    let end = 0;
    while (end + 5 <= this.#buffer.length) {
      const length = new DataView(this.#buffer.buffer, this.#buffer.byteOffset).getUint32(end + 1);
      if (end + 1 + length > this.#buffer.length) break;
      end += 1 + length;
    }
    const whole = this.#buffer.slice(0, end);
    this.#buffer = this.#buffer.slice(end);
    return whole;
  }
}

/** State byte of the last ReadyForQuery in *reply*. @param {Uint8Array} reply */
function transactionStatus(reply) {
  for (let at = reply.length - 6; at >= 0; at--) {
    if (reply[at] === READY_FOR_QUERY && reply[at + 4] === 5) return reply[at + 5];
  }
  return 0;
}

/** @param {string} folder */
async function boot(folder) {
  const { PGlite } = await import(`${folder}index.js`);
  const db = await PGlite.create();
  const { rows } = await db.query("show server_version");
  self.onmessage = ({ data }) => {
    if (data.type === "accept") new Session(db, rows[0].server_version, data.port);
  };
  self.postMessage({ type: "up" });
}

self.onmessage = ({ data }) => {
  if (data.type === "boot") boot(data.folder).catch((error) => self.postMessage({ type: "fatal", detail: String(error) }));
};
