// @ts-check
// The lab's engine for the page: a supervisor with its worker processes, the queue in front of
// them, and the client that plays the experiment. This file is what the user interface uses.

import { AcceptQueue } from "./accept-queue.js";
import { Assets } from "./assets.js";
import { Client } from "./client.js";
import { Network } from "./network.js";
import { InterpreterProcess } from "./process.js";
import { LabError, splitTarget, toBinaryString } from "./protocol.js";
import { SERVICES, Service } from "./services.js";

/** @typedef {import("./protocol.js").Files} Files */
/** @typedef {import("./protocol.js").Capabilities} Capabilities */
/** @typedef {import("./protocol.js").ClusterEvent} ClusterEvent */
/** @typedef {import("./protocol.js").WorkerInfo} WorkerInfo */
/** @typedef {import("./protocol.js").Answer} Answer */
/** @typedef {import("./protocol.js").RunOutcome} RunOutcome */

const RUNTIME = new URL("./runtime/", import.meta.url).href;
const REQUEST_TIMEOUT = 10_000;
const STOP_TIMEOUT = 2_000;
/** A worker that dies this often before it serves is not started again. */
const MAX_FAILED_RESTARTS = 3;

/**
 * What a lab keeps between runs: the downloaded runtime and the client interpreter.
 * One per page is enough; two labs on a page may share it, one run at a time.
 */
export class Lab {
  /** @type {Client | null} */
  #idle = null;

  /** @param {{ base?: string, spawn?: (url: URL) => Worker }} [options] base: URL of the runtime folder */
  constructor({ base = RUNTIME, spawn } = {}) {
    this.assets = new Assets(base);
    this.spawn = spawn;
  }

  /** Download ahead of the first run (the reader showed intent). @param {string} [image] */
  prefetch(image = "base") {
    return this.assets.prefetch(image);
  }

  /** @param {import("./process.js").Boot} boot @returns {{ client: Client, fresh: boolean }} */
  takeClient(boot) {
    const idle = this.#idle;
    this.#idle = null;
    const fits = idle && !idle.process.dead && idle.process.boot.image === boot.image && idle.process.boot.plain === boot.plain && idle.process.boot.jspi === boot.jspi;
    if (fits) {
      idle.process.boot.network = boot.network;
      return { client: idle, fresh: false };
    }
    idle?.kill();
    return { client: new Client(boot, this.spawn), fresh: true };
  }

  /** @param {Client} client */
  keepClient(client) {
    this.#idle?.kill();
    this.#idle = client;
  }

  /** Free everything that can be freed; the next run starts from the browser's cache. */
  close() {
    this.#idle?.kill();
    this.#idle = null;
    this.assets = new Assets(this.assets.base);
  }
}

/**
 * One run: start, play, stop. Not reusable; make a new one for the next run.
 */
export class Cluster {
  /** @type {Map<number, Slot>} by pid; dead ones are removed */
  #byPid = new Map();
  /** @type {Slot[]} one per lane, in the order of the lanes */
  #slots = [];
  /** @type {Map<number, Exchange>} */
  #exchanges = new Map();
  /** @type {Map<number, { slot: Slot, onFrame: (kind: string, data: string) => void }>} */
  #sockets = new Map();
  /** @type {any[][]} answers for the client, sent together */
  #answers = [];
  /** @type {Map<number, Exchange>} exchanges that the client waits for, by its own number */
  #clients = new Map();
  #lastId = 0;
  #lastPort = 50_000;
  #plain;
  /** @type {Client | null} */
  #client = null;
  /** @type {Service[]} */
  #services = [];
  /** @type {"new" | "starting" | "ready" | "running" | "stopped"} */
  #state = "new";
  #runEnded = true;
  /** @type {Record<string, string>} what the experiment sets for the workers */
  #environment = {};

  /**
   * @param {object} options
   * @param {Lab} options.lab
   * @param {number} options.workers           1 to 6
   * @param {Files} options.files              the app and what it imports
   * @param {string} options.app               import string, "examples.x.bad:app"
   * @param {Files} [options.experimentFiles]  experiment.py and what it imports
   * @param {string} [options.experiment]      module with EXPERIMENT, "examples.x.experiment"
   * @param {string} [options.drill]           name of one of its DRILLS instead
   * @param {boolean} [options.environment]    whether the experiment sets variables of the workers
   * @param {Record<string, string>} [options.env]
   * @param {string[]} [options.services]      hosts on the network: "redis" (default), "db"
   * @param {(event: ClusterEvent) => void} [options.onEvent]
   * @param {boolean} [options.jspi]           false: as a browser without JSPI (tests)
   * @param {boolean} [options.plain]          true: without the snapshot (tests, fallback)
   * @param {boolean} [options.breakLayout]    true: let the restore assert fail (tests)
   */
  constructor({ lab, workers, files, app, experimentFiles = {}, experiment = "", drill = "", environment = false, env = {}, services = ["redis"], onEvent = () => {}, jspi = true, plain = false, breakLayout = false }) {
    this.lab = lab;
    this.count = workers;
    this.files = files;
    this.app = app;
    this.experimentFiles = experimentFiles;
    this.experiment = experiment;
    this.drill = drill;
    this.setsEnvironment = environment;
    this.env = Object.assign({ REDIS_URL: "redis://redis:6379/0" }, ...services.map((name) => SERVICES[name]?.env), env);
    this.services = services;
    this.onEvent = onEvent;
    this.jspi = jspi;
    this.breakLayout = breakLayout;
    this.#plain = plain;
    this.image = imageFor(files);
    this.network = new Network();
    this.parentPid = 1000 + Math.floor(Math.random() * 8000);
    this.nextPid = this.parentPid + 1;
    /** @type {Capabilities | null} known when `start` has resolved */
    this.capabilities = null;
    this.queue = new AcceptQueue((/** @type {Slot} */ slot) => slot.process?.post({ type: "wake" }));
  }

  /** The lanes, in order. @returns {WorkerInfo[]} */
  get workers() {
    return this.#slots.map((slot) => ({ ...slot.info }));
  }

  get state() {
    return this.#state;
  }

  /**
   * Download, boot, check the syntax, import the app in every worker, run its lifespan.
   * Rejects with a LabError whose code messages.js knows; nothing is left running then.
   */
  async start() {
    this.#setState("starting");
    const stopProgress = this.lab.assets.onProgress((progress) => this.onEvent({ type: "progress", ...progress }));
    try {
      try {
        await this.#bootAll();
      } catch (error) {
        if (!(error instanceof LabError && error.code === "layout-changed" && !this.#plain)) throw error;
        this.onEvent({ type: "notice", code: "plain-path", detail: error.detail });
        this.#killAll();
        this.#plain = true;
        await this.#bootAll();
      }
      this.#setState("ready");
    } catch (error) {
      await this.stop();
      throw error;
    } finally {
      stopProgress();
    }
  }

  /** Play the experiment to its end. @returns {Promise<RunOutcome>} */
  async run() {
    if (this.#state !== "ready" || !this.#client) throw new LabError("not-ready", this.#state);
    this.#setState("running");
    this.#runEnded = false;
    try {
      return await this.#client.run(this.experimentFiles, this.experiment, this.drill);
    } finally {
      this.#runEnded = true;
      if (this.state === "running") this.#setState("ready"); // a stop may have come between
    }
  }

  /** The timeline so far. @param {Record<string, unknown>} options arguments of workerlab.timeline.timeline @returns {Promise<string>} SVG */
  async draw(options) {
    return this.#client ? this.#client.draw(options) : "";
  }

  /** kill -9. The supervisor starts another one in the same lane. @param {number} pid @returns {boolean} whether there was one */
  kill(pid) {
    if (!this.#byPid.has(pid)) return false;
    this.#client?.note({ kind: "worker_killed", worker: pid, detail: "kill -9" });
    return this.#kill(pid);
  }

  /** @param {number} pid */
  #kill(pid) {
    const slot = this.#byPid.get(pid);
    if (slot) this.#died(slot, new LabError("worker-killed"));
    return Boolean(slot);
  }

  /** Stop or start a host of the network; Redis forgets its data. @param {string} name @param {boolean} up */
  async setService(name, up) {
    this.#client?.note({ kind: up ? "service_started" : "service_stopped", detail: name });
    await this.#setService(name, up);
  }

  /** @param {string} name @param {boolean} up */
  async #setService(name, up) {
    if (name !== "redis" || !this.#client) throw new LabError("unknown-service", name);
    await this.#client.setRedis(up);
    this.onEvent({ type: "service", name, up });
  }

  /**
   * One request, for the reader who tries something by hand. Without `connection` it opens a
   * new one; with a `Connection` it is kept alive and stays with its worker.
   * @param {string} method @param {string} target path with query
   * @param {{ headers?: Record<string, string>, body?: string, connection?: Connection, timeout?: number, onPart?: (part: string) => void }} [options]
   * @returns {Promise<Answer>} never rejects; `error` says why there is no status
   */
  request(method, target, { headers = {}, body = "", connection, timeout = REQUEST_TIMEOUT, onPart } = {}) {
    return new Promise((resolve) => {
      const exchange = new Exchange(++this.#lastId, method, target, Object.entries(headers), toBinaryString(new TextEncoder().encode(body)), connection ?? new Connection(++this.#lastPort), resolve);
      exchange.onPart = onPart ?? null;
      exchange.timer = setTimeout(() => this.#abandon(exchange, "timeout"), timeout);
      this.#send(exchange);
    });
  }

  /**
   * Open a WebSocket with any worker that takes the connection.
   * @param {string} target @param {(kind: string, data: string) => void} onFrame kinds: open, message, close, end
   * @returns {{ send: (text: string) => void, close: (code?: number) => void }}
   */
  websocket(target, onFrame) {
    const id = ++this.#lastId;
    const slot = this.#slots.find((candidate) => candidate.info.state === "ready");
    if (!slot) {
      onFrame("end", "");
      return { send: () => {}, close: () => {} };
    }
    const [path, query] = splitTarget(target);
    this.#sockets.set(id, { slot, onFrame });
    slot.process?.post({ type: "websocket-open", request: JSON.stringify([id, "", path, query, [["host", "127.0.0.1:8000"]], ++this.#lastPort, ""]) });
    return {
      send: (text) => slot.process?.post({ type: "websocket-message", id, data: text }),
      close: (code = 1000) => slot.process?.post({ type: "websocket-close", id, code }),
    };
  }

  /** End everything. With `graceful` the apps' lifespans are shut down first. @param {{ graceful?: boolean }} [options] */
  async stop({ graceful = false } = {}) {
    if (this.#state === "stopped") return;
    this.#setState("stopped");
    if (graceful) await Promise.all(this.#slots.map((slot) => stopGracefully(slot)));
    const client = this.#client;
    const reusable = client && this.#runEnded && this.capabilities && !client.process.dead;
    this.#killAll(!reusable);
    if (client && reusable) this.lab.keepClient(client);
  }

  async #bootAll() {
    const boot = () => this.#boot();
    const { client, fresh } = this.lab.takeClient(boot());
    this.#client = client;
    client.onoutput = (items) => this.#clientOutput(items);
    client.onfatal = (error) => this.onEvent({ type: "error", code: error.code, detail: error.detail });
    const services = this.services.map((name) => (name === "redis" ? this.network.add(name, client.redis) : this.#startService(name)));
    for (const name of ["localhost", "127.0.0.1"]) this.network.add(name, { accept: () => false });

    const clientUp = fresh ? client.start() : client.setRedis(false).then(() => client.setRedis(true));
    const checked = clientUp.then(() => client.check(this.files)).then((message) => {
      if (message) throw new LabError("syntax-error", message);
    });
    const prepared = checked.then(() => this.#prepare(client));
    prepared.catch(() => {});
    this.#slots = Array.from({ length: this.count }, (_, index) => new Slot(index));
    this.onEvent({ type: "workers", workers: this.workers });
    const started = this.#slots.map((slot) => this.#startWorker(slot, prepared));
    for (const promise of started) promise.catch(() => {});
    await Promise.all([prepared, ...services, ...started]);
  }

  /** @param {Client} client */
  async #prepare(client) {
    if (this.setsEnvironment) this.#environment = await client.prepare(this.experimentFiles, this.experiment, this.drill);
  }

  /** @param {string} name */
  async #startService(name) {
    if (!(name in SERVICES)) throw new LabError("unknown-service", name);
    const service = new Service(name, this.lab.spawn);
    this.#services.push(service);
    this.network.add(name, service.host);
    await service.start(this.lab.assets, (text) => this.onEvent({ type: "log", pid: null, stream: "stderr", text }));
  }

  #boot() {
    const { lab, image, jspi, parentPid, env, network, breakLayout } = this;
    return { assets: lab.assets, image, plain: this.#plain, jspi, pid: this.nextPid++, parentPid, env, network, breakLayout };
  }

  /** @param {Slot} slot @param {Promise<void>} prepared */
  async #startWorker(slot, prepared) {
    const process = new InterpreterProcess("./worker.js", this.#boot(), this.lab.spawn);
    slot.process = process;
    slot.info = { ...slot.info, pid: process.pid, state: "booting", served: 0, inFlight: 0 };
    this.#byPid.set(process.pid, slot);
    this.#changed(slot);
    const capabilities = await process.start("booted");
    await prepared;
    this.#setWorkerState(slot, "starting");
    await new Promise((resolve, reject) => {
      process.onmessage = (message) => {
        if (message.type === "ready") resolve(undefined);
        else if (message.type === "app-error") reject(new LabError("app-error", message.traceback));
        else this.#workerMessage(slot, process, message);
      };
      process.onfatal = reject;
      process.post({ type: "start", files: this.files, app: this.app, environment: this.#environment });
    });
    process.onmessage = (message) => this.#workerMessage(slot, process, message);
    process.onfatal = (error) => this.#died(slot, error);
    this.capabilities = capabilities;
    slot.failures = 0;
    this.#setWorkerState(slot, "ready");
    this.queue.listen(slot);
  }

  /** A worker is gone: fail what it was doing, start another. @param {Slot} slot @param {LabError} error */
  #died(slot, error) {
    const { pid } = slot.info;
    this.#bury(slot);
    this.onEvent({ type: "worker-died", pid, code: error.code, detail: error.detail });
    if (this.#state === "stopped" || slot.failures >= MAX_FAILED_RESTARTS) return;
    slot.info.restarts += 1;
    this.#startWorker(slot, Promise.resolve()).catch((failure) => {
      slot.failures += 1;
      if (this.#state === "stopped" || failure.code === "stopped") return;
      this.onEvent({ type: "log", pid: slot.info.pid, stream: "stderr", text: failure.detail });
      this.#died(slot, failure);
    });
  }

  /** @param {Slot} slot */
  #bury(slot) {
    this.queue.unlisten(slot);
    slot.process?.kill();
    slot.process = null;
    this.#byPid.delete(slot.info.pid);
    for (const exchange of [...slot.exchanges]) this.#finish(exchange, { error: "connection-reset" });
    for (const [id, socket] of this.#sockets) {
      if (socket.slot !== slot) continue;
      this.#sockets.delete(id);
      socket.onFrame("end", "");
    }
    this.#setWorkerState(slot, "dead");
  }

  /** As a deployment: every worker ends, then all start anew. @param {Record<string, string> | null} environment null: as before */
  async #restart(environment) {
    this.#environment = environment ?? this.#environment;
    await Promise.all(this.#slots.map((slot) => stopGracefully(slot)));
    if (this.#state === "stopped") throw new LabError("stopped");
    for (const slot of this.#slots) {
      if (slot.process) this.#bury(slot);
      slot.info.restarts += 1;
    }
    await Promise.all(this.#slots.map((slot) => this.#startWorker(slot, Promise.resolve())));
  }

  #killAll(withClient = true) {
    for (const exchange of this.queue.drain()) this.#finish(exchange, { error: "connection-refused" });
    for (const slot of this.#slots) if (slot.process) this.#bury(slot);
    for (const service of this.#services.splice(0)) service.stop();
    if (withClient) {
      this.#client?.kill();
      this.#client = null;
    }
  }

  /** @param {Exchange} exchange */
  #send(exchange) {
    this.#exchanges.set(exchange.id, exchange);
    const { connection } = exchange;
    const slot = connection.pid === null ? null : this.#byPid.get(connection.pid);
    if (connection.pid !== null && !slot) this.#finish(exchange, { error: "connection-reset" });
    else if (slot) this.#hand(slot, [exchange]);
    else if (!this.queue.connect(exchange)) this.#finish(exchange, { error: "connection-refused" });
  }

  /** @param {Slot} slot @param {Exchange[]} exchanges */
  #hand(slot, exchanges) {
    for (const exchange of exchanges) {
      exchange.slot = slot;
      exchange.connection.pid = slot.info.pid;
      slot.exchanges.add(exchange);
    }
    slot.info.inFlight = slot.exchanges.size;
    slot.process?.post({ type: "requests", batch: JSON.stringify(exchanges.map((exchange) => exchange.wire())) });
  }

  /** @param {Slot} slot @param {InterpreterProcess} process @param {any} message */
  #workerMessage(slot, process, message) {
    if (slot.process !== process) return; // late output of a dead worker
    if (message.type === "accept") {
      const taken = this.queue.accept(slot);
      if (taken.length) this.#hand(slot, taken);
    } else if (message.type === "output") {
      for (const item of JSON.parse(message.json)) this.#workerOutput(slot, item);
    } else if (message.type === "stopped") slot.onStopped?.();
  }

  /** @param {Slot} slot @param {any[]} item typedef WorkerOutput */
  #workerOutput(slot, item) {
    if (item[0] === "response") this.#responsePart(slot, item[1], item[2], item[3], item[4], item[5]);
    else if (item[0] === "log") this.onEvent({ type: "log", pid: slot.info.pid, stream: item[1], text: item[2] });
    else if (item[0] === "websocket") {
      this.#sockets.get(item[1])?.onFrame(item[2], item[3]);
      if (item[2] === "end") this.#sockets.delete(item[1]);
    }
  }

  /** @param {Slot} slot @param {number} id @param {number} status @param {[string, string][] | null} headers @param {string} body @param {boolean} more */
  #responsePart(slot, id, status, headers, body, more) {
    const exchange = this.#exchanges.get(id);
    if (!exchange) return; // abandoned
    if (headers) {
      exchange.status = status;
      exchange.responseHeaders = headers;
      const { connection, method, target } = exchange;
      this.onEvent({ type: "access", pid: slot.info.pid, client: connection.port, method, target, status });
    }
    exchange.body += body;
    exchange.onPart?.(body);
    if (more) return;
    slot.info.served += 1;
    this.#finish(exchange, {});
  }

  /** The client of this exchange waits no longer. @param {Exchange} exchange @param {import("./protocol.js").NoAnswer} error */
  #abandon(exchange, error) {
    if (!this.queue.withdraw(exchange)) exchange.slot?.process?.post({ type: "abort", id: exchange.id });
    this.#finish(exchange, { error });
  }

  /** @param {Exchange} exchange @param {{ error?: import("./protocol.js").NoAnswer }} outcome */
  #finish(exchange, { error }) {
    if (!this.#exchanges.delete(exchange.id)) return;
    clearTimeout(exchange.timer);
    const { slot } = exchange;
    if (slot) {
      slot.exchanges.delete(exchange);
      slot.info.inFlight = slot.exchanges.size;
    }
    exchange.settle({
      status: error ? null : exchange.status,
      headers: exchange.responseHeaders,
      body: exchange.body,
      worker: error ? null : exchange.connection.pid,
      error: error ?? null,
    });
  }

  /** What the experiment wants from the page. @param {any[][]} items typedef ClientOutput */
  #clientOutput(items) {
    for (const [kind, ...fields] of items) {
      if (kind === "request") this.#clientRequest(/** @type {any} */ (fields));
      else if (kind === "abort") this.#clientAbort(fields[0]);
      else if (kind === "kill") {
        this.#kill(fields[1]); // the experiment has noted it itself
        this.#answer([fields[0], 200, null, "", "", null]);
      } else if (kind === "workers") {
        const pids = this.#slots.filter((slot) => slot.info.state === "ready").map((slot) => slot.info.pid);
        this.#answer([fields[0], 200, null, "", pids.sort((a, b) => a - b), null]);
      } else if (kind === "service") {
        const [number, name, up] = fields;
        this.#answerWhen(number, this.#setService(name, up));
      } else if (kind === "restart") this.#answerWhen(fields[0], this.#restart(fields[1]));
      else if (kind === "exchanges") this.onEvent({ type: "exchanges", rows: fields[0] });
      else if (kind === "log") this.onEvent({ type: "log", pid: null, stream: fields[0], text: fields[1] });
    }
  }

  /** @param {number} number @param {Promise<void>} done */
  #answerWhen(number, done) {
    done.then(
      () => this.#answer([number, 200, null, "", "", null]),
      (error) => this.#answer([number, null, null, "", "", String(error)]),
    );
  }

  /** @param {[number, string, string, [string, string][], string]} fields */
  #clientRequest([number, method, target, headers, body]) {
    const exchange = new Exchange(++this.#lastId, method, target, headers, body, new Connection(++this.#lastPort), (answer) => {
      this.#clients.delete(number);
      const type = answer.headers.find(([name]) => name === "content-type")?.[1] ?? "";
      const others = answer.headers.filter(([name]) => name !== "content-type" && name !== "content-length");
      this.#answer([number, answer.status, answer.worker, type, answer.body, answer.error, ...(others.length ? [others] : [])]);
    });
    this.#clients.set(number, exchange);
    this.#send(exchange);
  }

  /** @param {number} number */
  #clientAbort(number) {
    const exchange = this.#clients.get(number);
    if (exchange) this.#abandon(exchange, "timeout");
  }

  /** @param {any[]} answer */
  #answer(answer) {
    if (this.#answers.push(answer) > 1) return;
    queueMicrotask(() => this.#client?.deliver(this.#answers.splice(0)));
  }

  /** @param {typeof this.state} state */
  #setState(state) {
    this.#state = state;
    this.onEvent({ type: "state", state });
  }

  /** @param {Slot} slot @param {WorkerInfo["state"]} state */
  #setWorkerState(slot, state) {
    slot.info.state = state;
    this.#changed(slot);
  }

  /** @param {Slot} slot */
  #changed(slot) {
    this.onEvent({ type: "worker", worker: { ...slot.info } });
  }
}

/** A connection of the client; keep one to keep it alive. */
export class Connection {
  /** @type {number | null} the worker that accepted it */
  pid = null;

  /** @param {number} [port] */
  constructor(port = 40_000 + Math.floor(Math.random() * 9_999)) {
    this.port = port;
  }
}

/** The place of one worker process: its lane stays when the process is replaced. */
class Slot {
  /** @type {InterpreterProcess | null} */
  process = null;
  /** @type {Set<Exchange>} */
  exchanges = new Set();
  failures = 0;
  /** @type {(() => void) | null} */
  onStopped = null;

  /** @param {number} index */
  constructor(index) {
    /** @type {WorkerInfo} */
    this.info = { index, pid: 0, state: "booting", served: 0, inFlight: 0, restarts: 0 };
  }
}

class Exchange {
  /** @type {Slot | null} */
  slot = null;
  status = 0;
  /** @type {[string, string][]} */
  responseHeaders = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer = undefined;
  /** @type {((part: string) => void) | null} */
  onPart = null;

  /**
   * @param {number} id @param {string} method @param {string} target @param {[string, string][]} headers
   * @param {string} requestBody @param {Connection} connection @param {(answer: Answer) => void} settle
   */
  constructor(id, method, target, headers, requestBody, connection, settle) {
    this.id = id;
    this.method = method;
    this.target = target;
    this.headers = headers;
    this.requestBody = requestBody;
    this.connection = connection;
    this.settle = settle;
    this.body = "";
  }

  /** @returns {import("./protocol.js").WireRequest} */
  wire() {
    const [path, query] = splitTarget(this.target);
    const { requestBody } = this;
    /** @type {[string, string][]} */
    const headers = [["host", "127.0.0.1:8000"], ...this.headers];
    if (requestBody) headers.push(["content-length", String(requestBody.length)]);
    return [this.id, this.method, path, query, headers, this.connection.port, requestBody];
  }
}

/** The snapshot that has imported what the app imports (tools/lab/warm_sql.py). @param {Files} files */
function imageFor(files) {
  const sources = Object.values(files).join("\n");
  return /^\s*(import|from)\s+sqlalchemy\b/m.test(sources) ? "sql" : "base";
}

/** @param {Slot} slot */
function stopGracefully(slot) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, STOP_TIMEOUT);
    slot.onStopped = () => {
      clearTimeout(timer);
      resolve(undefined);
    };
    if (slot.process && slot.info.state === "ready") slot.process.post({ type: "stop" });
    else slot.onStopped();
  });
}
