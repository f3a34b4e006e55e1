// @ts-check
// The kernel's side of a listening socket that several processes share.
//
// A new connection waits in a queue; a process is woken and takes connections when its event
// loop gets to it. Who is busy does not answer the wake-up, and after a moment the others are
// woken too. Nobody balances anything: which idle process wins is chance.

/** A process takes at most this many connections when it is woken. */
const MAX_ACCEPT = 8;
/** Milliseconds after which a connection that nobody took wakes everybody. */
const PATIENCE = 5;

/** @template Connection, Process */
export class AcceptQueue {
  /** @type {Connection[]} */
  #waiting = [];
  /** @type {Map<Process, boolean>} listening processes; true: woken, has not answered yet */
  #listening = new Map();
  /** @type {ReturnType<typeof setTimeout> | null} */
  #timer = null;

  /**
   * @param {(process: Process) => void} wake
   * @param {() => number} [random] in [0, 1)
   */
  constructor(wake, random = Math.random) {
    this.wake = wake;
    this.random = random;
  }

  get waiting() {
    return this.#waiting.length;
  }

  /** The process listens from now on. @param {Process} process */
  listen(process) {
    this.#listening.set(process, false);
    this.#wakeForWaiting();
  }

  /** The process is gone; what it had not taken stays in the queue. @param {Process} process */
  unlisten(process) {
    this.#listening.delete(process);
    this.#wakeForWaiting();
  }

  /** @param {Connection} connection @returns {boolean} false: nobody listens (connection refused) */
  connect(connection) {
    if (!this.#listening.size) return false;
    this.#waiting.push(connection);
    this.#wakeForWaiting();
    return true;
  }

  /** The client gave up before anybody took the connection. @param {Connection} connection */
  withdraw(connection) {
    const at = this.#waiting.indexOf(connection);
    if (at >= 0) this.#waiting.splice(at, 1);
    return at >= 0;
  }

  /** The process answers a wake-up. @param {Process} process @returns {Connection[]} maybe none */
  accept(process) {
    if (!this.#listening.has(process)) return [];
    this.#listening.set(process, false);
    const share = Math.ceil(this.#waiting.length / this.#listening.size);
    const taken = this.#waiting.splice(0, Math.min(share, MAX_ACCEPT));
    this.#wakeForWaiting();
    return taken;
  }

  /** All connections that nobody took, for a cluster that stops. */
  drain() {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    return this.#waiting.splice(0);
  }

  #wakeForWaiting() {
    const asleep = [...this.#listening].filter(([, woken]) => !woken).map(([process]) => process);
    let missing = this.#waiting.length - (this.#listening.size - asleep.length);
    while (missing-- > 0 && asleep.length) {
      const [process] = asleep.splice(Math.floor(this.random() * asleep.length), 1);
      this.#listening.set(process, true);
      this.wake(process);
    }
    if (this.#waiting.length && this.#timer === null) this.#timer = setTimeout(() => this.#wakeEverybody(), PATIENCE);
  }

  #wakeEverybody() {
    this.#timer = null;
    if (!this.#waiting.length) return;
    for (const [process, woken] of this.#listening) {
      if (woken) continue;
      this.#listening.set(process, true);
      this.wake(process);
    }
    if (this.#listening.size) this.#timer = setTimeout(() => this.#wakeEverybody(), PATIENCE * 10);
  }
}
