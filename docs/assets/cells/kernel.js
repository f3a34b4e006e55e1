// @ts-check
// One notebook that runs in its page: an interpreter for the cells, and a cluster of workers
// for each experiment that a cell plays. Loaded when the reader presses 実行.

import { Client } from "../lab/client.js";
import { Cluster, Lab } from "../lab/cluster.js";
import { MESSAGES } from "../lab/messages.js";
import { Network } from "../lab/network.js";
import { LabError } from "../lab/protocol.js";
import { defaultWorkers } from "../lab/view-model.js";

/**
 * What tools/lab_cells.py writes; `versions`: path and source by name; `runtime`: bytes, null when it was not built.
 * @typedef {{ versions: Record<string, [path: string, source: string]>, experiment: string,
 *   plans: Record<string, { requests: number, environment: boolean }> }} Topic
 * @typedef {{ runtime: number | null, files: Record<string, string>, topics: Record<string, Topic> }} Notebook
 */

/**
 * What goes on, for the line beside the button.
 * @typedef {{ kind: "loading", loaded: number } | { kind: "starting", ready: number, total: number }
 *   | { kind: "sending", done: number, total: number } | { kind: "printed", text: string }} Progress
 */

/** How a cell ended. @typedef {{ html: string } | { failure: string } | { traceback: string }} Outcome */

/** The first process of the page; those of a cluster choose their own. */
const PID = 1;

export class Kernel {
  #lab = new Lab();
  /** @type {Client | null} */
  #client = null;
  /** @type {Cluster | null} */
  #cluster = null;
  #plain = false;

  /** @param {Notebook} notebook @param {(progress: Progress) => void} onProgress */
  constructor(notebook, onProgress) {
    this.notebook = notebook;
    this.onProgress = onProgress;
  }

  /** Load the runtime and boot the cells' interpreter; rejects with a LabError. */
  async start() {
    const stopProgress = this.#lab.assets.onProgress(({ loaded }) => this.onProgress({ kind: "loading", loaded }));
    try {
      await this.#boot();
    } catch (error) {
      if (!(error instanceof LabError && error.code === "layout-changed")) throw error;
      this.#plain = true; // without the snapshot, as the lab does
      await this.#boot();
    } finally {
      stopProgress();
    }
  }

  async #boot() {
    const boot = { assets: this.#lab.assets, image: "base", plain: this.#plain, jspi: true, pid: PID, parentPid: 0, env: {}, network: new Network() };
    const client = (this.#client = new Client(boot));
    client.oncells = (items) => this.#output(items);
    await client.start();
    const { deviceMemory: memory } = /** @type {any} */ (navigator);
    const small = matchMedia("(pointer: coarse) and (max-width: 60em)").matches;
    await client.openNotebook(this.notebook.files, defaultWorkers({ memory, small }));
    this.#lab.keepClient(client);
  }

  /** @param {string} ident @param {string} source @returns {Promise<Outcome>} rejects when the interpreter is gone */
  execute(ident, source) {
    return this.#client?.execute(ident, source) ?? Promise.reject(new LabError("stopped"));
  }

  /** End every interpreter at once. */
  stop() {
    this.#cluster?.stop().catch(() => {});
    this.#client?.kill();
    this.#lab.close();
  }

  /** @param {any[][]} items */
  #output(items) {
    for (const [kind, ...fields] of items) {
      if (kind === "log") this.onProgress({ kind: "printed", text: fields[1] });
      if (kind !== "notebook") continue;
      const [number, topic, version, workers, drill] = fields;
      this.#play(topic, version, workers, drill).then((failure) => this.#client?.answerCell(number, failure));
    }
  }

  /**
   * Play an experiment; its trace stays in the interpreter.
   * @param {string} slug @param {string} version @param {number} workers @param {string} drill
   * @returns {Promise<string>} why there is no result, or ""
   */
  async #play(slug, version, workers, drill) {
    const { versions, experiment, plans } = this.notebook.topics[slug];
    const [path, source] = versions[version];
    const { requests, environment } = plans[drill];
    let done = 0;
    const cluster = new Cluster({
      lab: this.#lab,
      workers,
      files: { [path]: source },
      app: `${path.replace(/\.py$/, "").replaceAll("/", ".")}:app`,
      experimentFiles: { [`examples/${slug}/experiment.py`]: experiment },
      experiment: `examples.${slug}.experiment`,
      drill,
      environment,
      plain: this.#plain,
      onEvent: (event) => {
        if (event.type === "worker" && cluster.state === "starting") this.onProgress({ kind: "starting", ready: cluster.workers.filter(({ state }) => state === "ready").length, total: workers });
        else if (event.type === "exchanges") this.onProgress({ kind: "sending", done: (done += event.rows.length), total: requests });
      },
    });
    this.#cluster = cluster;
    try {
      await cluster.start();
      return failureOf(await cluster.run());
    } catch (error) {
      return error instanceof LabError ? (MESSAGES[error.code] ?? error.message) : String(error);
    } finally {
      this.#cluster = null;
      await cluster.stop();
    }
  }
}

/** @param {any} outcome @returns {string} */
function failureOf(outcome) {
  if ("result" in outcome) return "";
  return outcome.failure ?? outcome.traceback ?? MESSAGES["unsupported" in outcome ? "unsupported" : "cancelled"];
}
