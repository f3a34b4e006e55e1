// @ts-check
// The client interpreter, seen from the page: questions with an id, a timeout and an answer.

import { WorkerHost } from "./network.js";
import { InterpreterProcess } from "./process.js";
import { LabError } from "./protocol.js";

/** @typedef {import("./protocol.js").Files} Files */

const REDIS_PORT = 6379;
/** Milliseconds for an answer; generous, for busy machines. */
const PATIENCE = 60_000;

export class Client {
  /** @type {Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>} */
  #questions = new Map();
  #last = 0;
  /** @type {(output: any[]) => void} what the experiment sends: requests, kills, exchanges, log */
  onoutput = () => {};
  /** @type {(output: any[]) => void} the same, for the cells of a notebook */
  oncells = () => {};
  /** @type {(error: LabError) => void} */
  onfatal = () => {};

  /** @param {import("./process.js").Boot} boot @param {(url: URL) => Worker} [spawn] */
  constructor(boot, spawn) {
    this.process = new InterpreterProcess("./client-worker.js", boot, spawn);
    this.redis = new WorkerHost(this.process.worker, [REDIS_PORT]);
    this.process.onmessage = (message) => this.#dispatch(message);
    this.process.onfatal = (error) => {
      this.#rejectAll(error);
      this.onfatal(error);
    };
  }

  /** Boot; resolves to the capabilities. */
  async start() {
    const engine = await this.process.boot.assets.buffer("engine");
    return this.process.start("ready", { engine });
  }

  /** Compile without running. @param {Files} files @returns {Promise<string>} "" or Python's message */
  check(files) {
    return this.#ask({ type: "check", files }, PATIENCE);
  }

  /** Import what the next `run` plays. @param {Files} files @param {string} module @param {string} drill @returns {Promise<Record<string, string>>} the variables of its workers */
  async prepare(files, module, drill) {
    return JSON.parse(await this.#ask({ type: "prepare", files, module, drill }, PATIENCE));
  }

  /** Play the experiment; ends when it ends, however long. @param {Files} files @param {string} module @param {string} drill "" for the experiment itself @returns {Promise<import("./protocol.js").RunOutcome>} */
  async run(files, module, drill) {
    return JSON.parse(await this.#ask({ type: "run", files, module, drill }, Infinity));
  }

  /** The timeline as SVG. @param {Record<string, unknown>} options arguments of workerlab.timeline @returns {Promise<string>} */
  draw(options) {
    return this.#ask({ type: "draw", options }, PATIENCE);
  }

  /** Import what executes cells. @param {Files} files @param {number} workers how many a run has */
  async openNotebook(files, workers) {
    await this.#ask({ type: "open-notebook", files, workers }, PATIENCE);
  }

  /** Execute one cell; ends when it ends, however long. @param {string} ident @param {string} source @returns {Promise<{ html: string } | { failure: string } | { traceback: string }>} */
  async execute(ident, source) {
    return JSON.parse(await this.#ask({ type: "execute", ident, source }, Infinity));
  }

  /** What a cell asked for. @param {number} number @param {any} value */
  answerCell(number, value) {
    this.process.post({ type: "answer-cell", number, value: JSON.stringify(value) });
  }

  /** Start or stop Redis; its data does not survive. @param {boolean} up */
  async setRedis(up) {
    this.redis.up = up;
    await this.#ask({ type: "service", up }, PATIENCE);
  }

  /** @param {any[][]} answers */
  deliver(answers) {
    this.process.post({ type: "deliver", batch: JSON.stringify(answers) });
  }

  /** Write an event into the trace of the running experiment. @param {{ kind: string, worker?: number, detail?: string }} event */
  note(event) {
    this.process.post({ type: "note", event });
  }

  cancel() {
    this.process.post({ type: "cancel" });
  }

  kill() {
    this.process.kill();
    this.#rejectAll(new LabError("stopped"));
  }

  /** @param {any} question @param {number} timeout milliseconds @returns {Promise<any>} */
  #ask(question, timeout) {
    if (this.process.dead) return Promise.reject(new LabError("stopped"));
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const timer = timeout === Infinity ? undefined : setTimeout(() => this.#settle(id, (q) => q.reject(new LabError("timeout", question.type))), timeout);
      const done = (/** @type {(value: any) => void} */ then) => (/** @type {any} */ value) => {
        clearTimeout(timer);
        then(value);
      };
      this.#questions.set(id, { resolve: done(resolve), reject: done(reject) });
      this.process.post({ ...question, id });
    });
  }

  /** @param {number} id @param {(question: { resolve: (value: any) => void, reject: (error: Error) => void }) => void} how */
  #settle(id, how) {
    const question = this.#questions.get(id);
    this.#questions.delete(id);
    if (question) how(question);
  }

  /** @param {Error} error */
  #rejectAll(error) {
    for (const id of [...this.#questions.keys()]) this.#settle(id, (question) => question.reject(error));
  }

  /** @param {any} message */
  #dispatch(message) {
    if (message.type === "answer") this.#settle(message.id, (question) => question.resolve(message.value));
    else if (message.type === "output") {
      const items = JSON.parse(message.json);
      this.onoutput(items);
      this.oncells(items);
    }
  }
}
