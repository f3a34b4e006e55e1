// @ts-check
// The runs of one lab: between the views and the runtime. Imported when the reader shows
// intent; the runtime's own modules (cluster.js) come with the first run.

import { known, learn, text } from "./messages-idle.js";
import { MESSAGES, RUN_MESSAGES } from "./messages.js";
import { Log, Run, accessLine, appOf, exceptionOf, experimentOf, readersLine, servicesOf, shortTraceback, verdictOf } from "./run-model.js";
import { RunView } from "./run-view.js";
import { nameOf } from "./view.js";
import { megabytes, number } from "./view-model.js";

/** @typedef {import("./view-model.js").Topic} Topic */
/** @typedef {import("./run-model.js").Traffic} Traffic */
/** @typedef {import("./cluster.js").Cluster} Cluster */
/** @typedef {{ variant: string, code: string, drill: string, workers: number }} Play */

/** Milliseconds between two pictures while a run goes on. */
const FRAME = 250;

/** What all labs of the page share: the runtime, and who is using it. */
const shared = {
  /** @type {import("./cluster.js").Lab | null} */
  lab: null,
  /** @type {Session | null} */
  owner: null,
};

/** The last lab left the page: free what can be freed. */
export function closeShared() {
  shared.lab?.close();
  shared.lab = null;
}

export class Session {
  /** @type {Cluster | null} */
  #cluster = null;
  #run = new Run();
  #log = new Log();
  /** @type {Promise<Traffic> | null} */
  #loadingTraffic = null;
  /** What runs, or ran last, or was chosen. @type {import("./run-model.js").Plan | null} */
  #plan = null;
  /** @type {Play | null} what runs, or ran last */
  #play = null;
  #turn = 0;
  #loaded = false;
  #drawing = false;
  #lastDraw = 0;
  /** @type {ReturnType<typeof setTimeout> | null} */
  #logTimer = null;
  #exceptions = 0;
  #where = "";
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  /** Whether something goes on. */
  busy = false;

  /**
   * @param {object} options
   * @param {Topic} options.topic
   * @param {import("./view.js").View} options.view
   * @param {(path: string) => Promise<any>} options.json
   * @param {(variant: string, line: number | null) => void} options.mark  point at a line of the code
   */
  constructor({ topic, view, json, mark }) {
    this.topic = topic;
    this.view = view;
    this.json = json;
    this.mark = mark;
    learn({ ...MESSAGES, ...RUN_MESSAGES });
    this.runView = new RunView(view, { kill: (lane) => this.#kill(lane), probe: () => this.#probe(), log: () => this.runView.showLog(this.#log) });
  }

  /** Whether there are workers. */
  get alive() {
    return this.#cluster !== null;
  }

  /** @param {Play} play */
  async start(play) {
    if (this.busy) return;
    if (shared.owner && shared.owner !== this) shared.owner.leave("stopped-other");
    this.end();
    shared.owner = this;
    const turn = ++this.#turn;
    this.#begin(play);
    let failure = null;
    try {
      await this.#perform(play, turn);
    } catch (error) {
      failure = error;
    }
    if (turn !== this.#turn) return;
    this.busy = false;
    if (failure) this.#failed(failure);
    this.view.showControls({ busy: false, alive: this.alive });
    this.runView.showLog(this.#log);
  }

  /** Show the table of another experiment; its workers would be of the last run. @param {string} drill "": the topic's own */
  async choose(drill) {
    const { plans } = await this.#load();
    this.leave("stopped");
    this.view.plan = this.#plan = plans[drill];
    this.runView.showVerdict(null);
    this.runView.showProblem(null);
  }

  /** @returns {Promise<Traffic>} */
  #load() {
    this.#loadingTraffic ??= this.json(`./topics/${this.topic.slug}.run.json`);
    this.#loadingTraffic.catch(() => (this.#loadingTraffic = null));
    return this.#loadingTraffic;
  }

  /** Stop, and say why. @param {string} code */
  leave(code) {
    if (!this.alive && !this.busy) return;
    this.end();
    this.view.showControls({ busy: false, alive: false });
    this.runView.showProbe(null);
    this.view.showStatus(text(code));
    this.view.say(text(code));
  }

  /** Terminate every worker, at once. */
  end() {
    const cluster = this.#cluster;
    this.#turn += 1;
    this.#cluster = null;
    this.busy = false;
    if (shared.owner === this) shared.owner = null;
    if (!cluster) return;
    cluster.stop().catch(() => {});
    for (const lane of this.#run.lanes) lane.state = "dead";
    this.runView.showLanes(this.#run.lanes);
  }

  /** @param {Play} play */
  #begin(play) {
    const { view, runView } = this;
    this.busy = true;
    this.#play = play;
    this.#run = new Run();
    this.#log = new Log();
    this.#exceptions = 0;
    this.#lastDraw = 0;
    this.mark(play.variant, null);
    runView.showProblem(null);
    runView.showVerdict(null);
    runView.showProbe(null);
    view.showTable(play.variant);
    view.showControls({ busy: true, alive: true });
    view.showStatus(text("preparing"), "unknown");
    view.say(text("say-run", { name: nameOf(play.variant), workers: play.workers }));
  }

  /** @param {Play} play @param {number} turn */
  async #perform({ variant, code, drill, workers }, turn) {
    const late = () => turn !== this.#turn;
    const { topic, view } = this;
    const [{ Lab, Cluster }, traffic] = await Promise.all([import("./cluster.js"), this.#load()]);
    if (late()) return;
    this.#plan = traffic.plans[drill];
    shared.lab ??= new Lab();
    const { path, app } = appOf(topic, variant);
    const cluster = new Cluster({
      lab: shared.lab,
      workers,
      files: { [path]: code },
      app,
      services: servicesOf(topic),
      ...experimentOf(topic, traffic, drill),
      onEvent: (event) => late() || this.#event(event),
    });
    this.#cluster = cluster;
    await cluster.start();
    if (late()) return;
    view.say(text("say-ready", { workers }));
    this.#showNotes(cluster);
    const outcome = await cluster.run();
    if (!late()) this.#run.settle(verdictOf(outcome).killed);
    if (!late()) await this.#draw(true);
    if (!late()) this.#finished(outcome);
  }

  /** @param {import("./protocol.js").ClusterEvent} event */
  #event(event) {
    const run = this.#run;
    const { view, runView } = this;
    run.apply(event);
    switch (event.type) {
      case "progress":
        return this.#showLoading(event.loaded, event.loaded >= event.total);
      case "workers":
        return runView.buildLanes(run.lanes);
      case "worker":
        return this.#showWorker(event.worker);
      case "worker-died":
        this.#note(event.pid, text("log-died", { pid: event.pid, reason: text(event.code) }));
        if (event.code !== "worker-killed") runView.showProblem(text(event.code), event.detail);
        if (!this.busy) this.#redraw();
        return;
      case "exchanges":
        view.showStatus(text("running", { done: run.done, total: this.#requests }), run.done / this.#requests);
        runView.showLanes(run.lanes);
        return this.#redraw();
      case "log":
        this.#note(event.pid, event.text);
        if (event.stream === "stderr" && event.text.includes("Traceback")) this.#exception(event.pid, event.text);
        return;
      case "access":
        return this.#note(event.pid, accessLine(event));
      case "error":
        return runView.showProblem(text(event.code), event.detail);
    }
  }

  /** A line for the log, which is shown some times a second. @param {number | null} pid @param {string} lines */
  #note(pid, lines) {
    this.#log.add(this.#run.laneOf(pid), lines);
    this.#logTimer ??= setTimeout(() => {
      this.#logTimer = null;
      this.runView.showLog(this.#log);
    }, FRAME);
  }

  get #requests() {
    return this.#plan?.requests ?? 1;
  }

  /** @param {number} loaded @param {boolean} all */
  #showLoading(loaded, all) {
    this.#loaded = all;
    if (this.#cluster?.state !== "starting") return;
    if (all) return this.#showStarting();
    const total = this.topic.runtime ?? loaded;
    this.view.showStatus(text("loading", { loaded: megabytes(Math.min(loaded, total)), total: megabytes(total) }), loaded / total);
  }

  /** @param {import("./protocol.js").WorkerInfo} worker */
  #showWorker({ state, index, restarts }) {
    this.runView.showLanes(this.#run.lanes);
    if (state === "ready" && restarts) this.view.say(text("say-restarted", { worker: index + 1 }));
    if (this.#cluster?.state === "starting" && this.#loaded) this.#showStarting();
  }

  #showStarting() {
    const { ready, lanes } = this.#run;
    this.view.showStatus(text("starting", { ready, total: lanes.length }), ready / lanes.length);
  }

  /** What this browser does differently. @param {Cluster} cluster */
  #showNotes({ capabilities }) {
    const codes = ["differs", ...(capabilities?.jspi === false ? ["no-jspi"] : []), ...(capabilities?.snapshot === false ? ["plain-path"] : [])];
    this.view.differs.textContent = codes.map((code) => text(code)).join(" ");
  }

  /** The first exception of a run is shown, the others are counted. @param {number | null} pid @param {string} traceback */
  #exception(pid, traceback) {
    this.#exceptions += 1;
    if (this.#exceptions === 1) this.#showTraceback("exception", traceback, pid);
    else this.runView.problemWhere.textContent = `${this.#where}、${text("more", { count: this.#exceptions - 1 })}`;
  }

  /** @param {string} code @param {string} traceback @param {number | null} [pid] */
  #showTraceback(code, traceback, pid = null) {
    const { variant } = /** @type {Play} */ (this.#play);
    const { path } = appOf(this.topic, variant);
    const line = readersLine(traceback, path);
    const lane = this.#run.laneOf(pid);
    const where = [line ? text(variant === "own" ? "at-own" : "at", { file: nameOf(variant), line }) : "", lane >= 0 ? `${text("workers-short")} ${lane + 1}` : "", exceptionOf(traceback)];
    this.#where = where.filter(Boolean).join("、");
    this.runView.showProblem(text(code), this.#where, shortTraceback(traceback));
    this.view.say(`${text(code)}。${this.#where}`);
    if (line) this.mark(variant, line);
  }

  /** Draw soon, but not more often than the eye needs; only at the end where motion is not wanted. */
  #redraw() {
    const now = performance.now();
    if (this.#drawing || (this.busy && (this.#still.matches || now - this.#lastDraw < FRAME))) return;
    this.#lastDraw = now;
    this.#draw(!this.busy).catch(() => {});
  }

  /** @param {boolean} finished */
  async #draw(finished) {
    const cluster = this.#cluster;
    const run = this.#run;
    if (!cluster || !run.done) return;
    this.#drawing = true;
    try {
      const seconds = finished ? run.end : run.span(this.#requests);
      const expected = this.#plan?.line ?? null;
      const picture = await cluster.draw({ title: this.#plan?.title ?? "", ident: "lab", expected, lanes: run.pids, duration: seconds });
      if (cluster === this.#cluster) this.runView.drawLanes(picture, run.lanes, { kills: run.kills, seconds, finished, lost: run.lost, expected });
    } finally {
      this.#drawing = false;
    }
  }

  /** @param {import("./protocol.js").RunOutcome} outcome */
  #finished(outcome) {
    const { view, runView } = this;
    const run = this.#run;
    const { variant, workers } = /** @type {Play} */ (this.#play);
    const { kind, observed, detail, killed, ...counts } = verdictOf(outcome);
    runView.showLanes(run.lanes);
    view.showTable(variant, observed, this.#plan?.whys);
    view.showStatus(text("finished"));
    runView.showProbe(run.lastGet && `GET ${run.lastGet}`);
    if (kind === "traceback") return this.#showTraceback("experiment-error", detail);
    if (kind === "failure") return runView.showProblem(text("traffic-error"), detail);
    if (kind === "unsupported") return runView.showProblem(text("unsupported"), detail);
    if (kind === "cancelled") return;
    const title = text(kind, counts);
    const summary = text(counts.lost ? "summary-lost" : "summary", { name: nameOf(variant), workers, ...counts });
    const deaths = killed.length ? text("killed", { who: killed.map(({ worker, at }) => text("killed-who", { worker: run.laneOf(worker) + 1, at: at.toFixed(2) })).join("、") }) : "";
    runView.showVerdict(kind, title, [kind === "inconclusive" ? text("inconclusive-why") : summary, deaths].filter(Boolean).join("。"));
    const broken = view.plan.invariants.filter(({ name }) => observed[name]?.holds === false);
    view.say([title, ...broken.map(({ name, label }) => text("say-invariant", { label, observed: number(observed[name].observed) })), deaths].filter(Boolean).join("。"));
  }

  /** The run could not be played. @param {any} error */
  #failed(error) {
    const code = typeof error?.code === "string" ? error.code : "";
    this.end();
    this.runView.hideLanes();
    this.view.showStatus(text("not-started"));
    if (code === "syntax-error" || code === "app-error") return this.#showTraceback(code, error.detail);
    const title = known(code) ? text(code) : text("unexpected", { code: code || String(error?.message ?? error) });
    this.runView.showProblem(title);
    this.view.say(title);
  }

  /** @param {number} index */
  #kill(index) {
    if (this.#cluster?.kill(this.#run.lanes[index].pid)) this.view.say(text("say-killed", { worker: index + 1 }));
  }

  /** One request by hand: after a kill the reader sees what the new worker knows. */
  async #probe() {
    const cluster = this.#cluster;
    const target = this.#run.lastGet;
    if (!cluster || target === null || this.busy) return;
    const { error, worker, status, body } = await cluster.request("GET", target);
    if (cluster !== this.#cluster) return;
    this.runView.addAnswer(error ? text("probe-failed", { reason: text(error) }) : text("probe-answer", { worker: this.#run.laneOf(worker) + 1, status: status ?? "", body }));
    this.runView.showLog(this.#log);
  }
}
