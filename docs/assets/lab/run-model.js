// @ts-check
// What a run shows, computed from what the runtime says. Pure: no DOM, no text of its own.

/** @typedef {import("./view-model.js").Topic} Topic */
/** @typedef {import("./protocol.js").ClusterEvent} ClusterEvent */
/** @typedef {import("./protocol.js").WorkerInfo} WorkerInfo */

/** What only a run needs, in a file of its own.
 * @typedef {{ files: Record<"experiment" | "stage", string>, plans: Record<string, Plan> }} Traffic */

/** The topic's experiment (""), or one of its drills. @typedef {{ title: string, requests: number, line: number | null, environment: boolean,
 *   whys: Record<string, string>, invariants: Topic["invariants"], recorded: any }} Plan */

/** A lane: its worker now, and every process that it had. @typedef {WorkerInfo & { pids: number[], count: number, value: number | null }} Lane */

/** What the experiment needs, as hosts of the lab's network. @type {Record<string, string>} */
const HOSTS = { redis: "redis" };

/** @param {Topic} topic */
export const servicesOf = ({ needs }) => needs.flatMap((need) => HOSTS[need] ?? []);

/** The file and import string of a variant. @param {Topic} topic @param {string} variant */
export function appOf({ slug }, variant) {
  return variant === "own" ? { path: "main.py", app: "main:app" } : { path: `examples/${slug}/${variant}.py`, app: `examples.${slug}.${variant}:app` };
}

/** @param {Topic} topic @param {Traffic} traffic @param {string} drill "": the topic's experiment */
export function experimentOf({ slug }, { files, plans }, drill) {
  const folder = `examples/${slug}`;
  return {
    experimentFiles: { [`${folder}/experiment.py`]: files.experiment, [`${folder}/lab.py`]: files.stage },
    experiment: `examples.${slug}.lab`,
    drill,
    environment: plans[drill].environment,
  };
}

/** The reader's line in a traceback: the last one in this file. @param {string} traceback @param {string} path @returns {number | null} */
export function readersLine(traceback, path) {
  const lines = [...traceback.matchAll(/File "\/app\/([^"]+)", line (\d+)/g)].filter(([, file]) => file === path);
  return lines.length ? Number(lines[lines.length - 1][2]) : null;
}

/** The exception itself: the last line that is not indented. @param {string} traceback */
export function exceptionOf(traceback) {
  const lines = traceback.trimEnd().split("\n");
  return (lines.findLast((line) => /^[\w.]+(: |$)/.test(line)) ?? lines[lines.length - 1]).replace(/[.:]$/, "");
}

/**
 * A traceback as the page shows it: the reader's frames, and "…" for those of libraries (the
 * log has them all).
 * @param {string} traceback
 */
export function shortTraceback(traceback) {
  const shown = [];
  let inLibrary = false;
  for (const line of traceback.trimEnd().split("\n")) {
    const frame = /^  File "([^"]+)"/.exec(line);
    const detail = line.startsWith("    ");
    if (frame) {
      const skip = frame[1].startsWith("/lib/");
      if (skip && !inLibrary) shown.push("  …");
      inLibrary = skip;
    } else if (!detail) inLibrary = false;
    if (!inLibrary) shown.push(line.replace('File "/app/', 'File "'));
  }
  return shown.join("\n");
}

/** As uvicorn writes it. @param {Extract<ClusterEvent, { type: "access" }>} event */
export const accessLine = ({ client, method, target, status }) => `INFO:     127.0.0.1:${client} - "${method} ${target} HTTP/1.1" ${status}`;

/** A worker that was killed during the run, and when. @typedef {{ worker: number, at: number }} Killed */

/**
 * What a run said.
 * @param {import("./protocol.js").RunOutcome} outcome
 * @returns {{ kind: "holds" | "broken" | "inconclusive" | "failure" | "unsupported" | "traceback" | "cancelled", broken: number, total: number, lost: number,
 *   requests: number, observed: Record<string, { observed: number | null, holds: boolean }>, killed: Killed[], detail: string }}
 */
export function verdictOf(outcome) {
  const nothing = { broken: 0, total: 0, lost: 0, requests: 0, observed: {}, killed: [], detail: "" };
  if ("cancelled" in outcome) return { ...nothing, kind: "cancelled" };
  if ("traceback" in outcome) return { ...nothing, kind: "traceback", detail: outcome.traceback };
  if ("failure" in outcome) return { ...nothing, kind: "failure", detail: outcome.failure };
  if ("unsupported" in outcome) return { ...nothing, kind: "unsupported", detail: outcome.unsupported };
  const { result } = outcome;
  const { status } = result.trace.exchanges;
  /** @type {{ invariants: any[], trace: { events: any[] } }} */
  const { invariants, trace } = result;
  return {
    kind: !result.conclusive ? "inconclusive" : result.holds ? "holds" : "broken",
    broken: invariants.filter((invariant) => !invariant.holds).length,
    total: invariants.length,
    lost: status.filter((/** @type {number | null} */ each) => each === null).length,
    requests: status.length,
    observed: Object.fromEntries(invariants.map(({ name, observed, holds }) => [name, { observed, holds }])),
    killed: trace.events.filter(({ kind }) => kind === "worker_killed").map(({ worker, at_ms }) => ({ worker, at: at_ms / 1000 })),
    detail: "",
  };
}

/** The lanes of one run and what happened in them, kept up to date from events. */
export class Run {
  /** @type {Lane[]} */
  lanes = [];
  /** @type {{ lane: number, pid: number, at: number }[]} */
  kills = [];
  done = 0;
  /** Answers of the last exchanges end here, in seconds of the trace. */
  end = 0;
  lost = 0;
  /** The last GET of the run, for the reader who tries again. @type {string | null} */
  lastGet = null;

  /** @param {ClusterEvent} event */
  apply(event) {
    switch (event.type) {
      case "workers":
        this.lanes = event.workers.map((worker) => ({ ...worker, pids: [], count: 0, value: null }));
        break;
      case "worker":
        return this.#worker(event.worker);
      case "worker-died":
        return this.#died(event.pid);
      case "access":
        if (event.method === "GET") this.lastGet = event.target;
        break;
      case "exchanges":
        for (const row of event.rows) this.#exchange(row);
        break;
    }
  }

  /** @param {number | null} pid */
  laneOf(pid) {
    return pid === null ? -1 : this.lanes.findIndex((lane) => lane.pids.includes(pid));
  }

  get ready() {
    return this.lanes.filter((lane) => lane.state === "ready").length;
  }

  /** Process ids as the engine's timeline shall draw them. */
  get pids() {
    return this.lanes.flatMap((lane) => lane.pids);
  }

  /** Seconds that the full width stands for, so that lanes fill from the left. @param {number} requests */
  span(requests) {
    return this.done ? (this.end * Math.max(requests, this.done)) / this.done : 0.001;
  }

  /** @param {WorkerInfo} worker */
  #worker(worker) {
    const lane = this.lanes[worker.index];
    if (!lane) return;
    const fresh = worker.pid && !lane.pids.includes(worker.pid);
    Object.assign(lane, worker, fresh ? { pids: [...lane.pids, worker.pid], count: 0, value: null } : {});
  }

  /** @param {number} pid */
  #died(pid) {
    const lane = this.laneOf(pid);
    if (lane >= 0) this.kills.push({ lane, pid, at: this.end });
  }

  /** The trace knows better when workers died. @param {Killed[]} killed */
  settle(killed) {
    for (const { worker, at } of killed) {
      const kill = this.kills.find(({ pid }) => pid === worker);
      if (kill) kill.at = Math.max(kill.at, at);
      this.end = Math.max(this.end, at);
    }
  }

  /** Answers of a dead worker are told late: it died after them. @param {number} index @param {number} end */
  #lastWords(index, end) {
    const kill = this.kills.findLast(({ lane }) => lane === index);
    if (kill) kill.at = Math.max(kill.at, end);
  }

  /** @param {import("./protocol.js").ExchangeRow} row */
  #exchange([, pid, , end, status, value]) {
    this.done += 1;
    this.end = Math.max(this.end, end);
    if (status === null) this.lost += 1;
    const lane = this.lanes[this.laneOf(pid)];
    if (!lane) return;
    if (lane.pid !== pid) return this.#lastWords(lane.index, end);
    lane.count += 1;
    if (value !== null) lane.value = value;
  }
}

/** Geometry of workerlab.timeline; a test compares it with that file. */
export const TIMELINE = { LANE: 54, LEFT: 82, RIGHT: 334, TOP: 20 };

/** The part of the engine's picture that is lane *place* (from 0): x, y, width, height. @param {number} place */
export function laneBox(place) {
  const { LANE, LEFT, RIGHT, TOP } = TIMELINE;
  return { x: LEFT - 2, y: TOP + LANE * place + 3, width: RIGHT - LEFT + 4, height: LANE - 7 };
}

/** Where a moment lies in the picture. @param {number} at @param {number} seconds */
export const xAt = (at, seconds) => TIMELINE.LEFT + (TIMELINE.RIGHT - TIMELINE.LEFT) * Math.min(at / Math.max(seconds, 0.001), 1);

/** The log of one run, bounded. */
export class Log {
  static LIMIT = 2000;
  /** @type {{ lane: number, text: string }[]} lane -1: the experiment */
  lines = [];
  count = 0;

  /** @param {number} lane @param {string} text */
  add(lane, text) {
    for (const line of text.replace(/\n$/, "").split("\n")) {
      this.lines.push({ lane, text: line });
      this.count += 1;
    }
    if (this.lines.length > 2 * Log.LIMIT) this.lines.splice(0, this.lines.length - Log.LIMIT);
  }

  /** @param {number | null} lane null: all */
  tail(lane, length = 300) {
    const own = lane === null ? this.lines : this.lines.filter((line) => line.lane === lane);
    return own.slice(-length);
  }
}
