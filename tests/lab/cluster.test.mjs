// The supervisor with Workers that are played by this file: no browser, no Python.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Cluster, Connection, Lab } from "../../docs/assets/lab/cluster.js";

/** Plays worker.js or client-worker.js: answers the messages as the real one does. */
class FakeWorker {
  terminated = false;

  constructor(url, behaviour) {
    this.isClient = String(url).endsWith("client-worker.js");
    this.behaviour = behaviour;
  }

  say(data) {
    queueMicrotask(() => !this.terminated && this.onmessage?.({ data }));
  }

  terminate() {
    this.terminated = true;
  }

  postMessage(message) {
    const { say, behaviour } = this;
    const reply = (data) => say.call(this, data);
    const capabilities = { jspi: true, snapshot: !message.config?.plain };
    if (message.type === "boot" && behaviour.layoutChanged && !message.config.plain) reply({ type: "fatal", layout: true, detail: "table" });
    else if (message.type === "boot") {
      this.pid = message.config.pid;
      reply({ type: this.isClient ? "ready" : "booted", capabilities });
    } else if (message.type === "start") reply(behaviour.appError ? { type: "app-error", traceback: behaviour.appError } : { type: "ready" });
    else if (message.type === "check") reply({ type: "answer", id: message.id, value: behaviour.syntaxError ?? "" });
    else if (message.type === "service") reply({ type: "answer", id: message.id, value: null });
    else if (message.type === "wake") reply({ type: "accept" });
    else if (message.type === "requests") this.answer(JSON.parse(message.batch));
  }

  answer(requests) {
    for (const [id, , path] of requests) {
      if (path === "/never") continue;
      this.say({ type: "output", json: JSON.stringify([["response", id, 200, [["content-type", "text/plain"]], String(this.pid), false]]) });
    }
  }
}

function lab(behaviour = {}) {
  const workers = [];
  const made = new Lab({
    base: "memory:",
    spawn: (url) => {
      const worker = new FakeWorker(url, behaviour);
      workers.push(worker);
      return worker;
    },
  });
  const manifest = { files: {}, images: { base: { snapshot: "s", layout: {} } }, folders: {} };
  made.assets.manifest = async () => manifest;
  made.assets.modules = async () => ({ manifest, wasm: null, extension: null });
  made.assets.buffer = async () => new ArrayBuffer(8);
  return { lab: made, workers, alive: () => workers.filter((worker) => !worker.terminated) };
}

const options = (lab, more = {}) => ({ lab, workers: 2, files: { "main.py": "" }, app: "main:app", ...more });

async function until(condition) {
  const end = Date.now() + 60_000;
  while (!condition()) {
    assert.ok(Date.now() < end, "deadline");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test("a request is answered by one of the workers", async () => {
  const stage = lab();
  const cluster = new Cluster(options(stage.lab));
  await cluster.start();
  const answer = await cluster.request("GET", "/");
  assert.equal(answer.status, 200);
  assert.ok(cluster.workers.some((worker) => worker.pid === answer.worker && worker.served === 1));
  await cluster.stop();
});

test("a kept connection stays with its worker and breaks with it", async () => {
  const stage = lab();
  const cluster = new Cluster(options(stage.lab, { workers: 3 }));
  await cluster.start();
  const connection = new Connection();
  const pids = [];
  for (let i = 0; i < 10; i++) pids.push((await cluster.request("GET", "/", { connection })).worker);
  assert.equal(new Set(pids).size, 1);
  cluster.kill(pids[0]);
  assert.equal((await cluster.request("GET", "/", { connection })).error, "connection-reset");
  await cluster.stop();
});

test("a killed worker's requests break and its lane gets a new process", async () => {
  const stage = lab();
  const cluster = new Cluster(options(stage.lab, { workers: 1 }));
  await cluster.start();
  const [{ pid }] = cluster.workers;
  const hanging = cluster.request("GET", "/never");
  await until(() => cluster.workers[0].inFlight === 1);
  assert.equal(cluster.kill(pid), true);
  assert.equal((await hanging).error, "connection-reset");
  await until(() => cluster.workers[0].state === "ready");
  assert.notEqual(cluster.workers[0].pid, pid);
  assert.deepEqual([cluster.workers[0].restarts, cluster.workers[0].served], [1, 0]);
  assert.equal(cluster.kill(pid), false);
  await cluster.stop();
});

test("a request times out as a value, and a late answer is dropped", async () => {
  const stage = lab();
  const cluster = new Cluster(options(stage.lab, { workers: 1 }));
  await cluster.start();
  const answer = await cluster.request("GET", "/never", { timeout: 5 });
  assert.deepEqual([answer.status, answer.error], [null, "timeout"]);
  stage.workers.find((worker) => !worker.isClient).answer([[1, "GET", "/", "", [], 1, ""]]);
  assert.equal((await cluster.request("GET", "/")).status, 200);
  await cluster.stop();
});

test("a syntax error ends the start before any app is imported", async () => {
  const stage = lab({ syntaxError: "line 2" });
  const events = [];
  const cluster = new Cluster(options(stage.lab, { onEvent: (event) => events.push(event) }));
  await assert.rejects(cluster.start(), { code: "syntax-error", detail: "line 2" });
  assert.ok(!events.some((event) => event.type === "worker" && event.worker.state === "starting"));
  assert.equal(cluster.state, "stopped");
});

test("an app that cannot be imported stops everything", async () => {
  const stage = lab({ appError: "Traceback" });
  await assert.rejects(new Cluster(options(stage.lab)).start(), { code: "app-error", detail: "Traceback" });
  assert.deepEqual(stage.alive().filter((worker) => !worker.isClient), []);
});

test("a changed layout is said aloud and answered with the plain path", async () => {
  const stage = lab({ layoutChanged: true });
  const events = [];
  const cluster = new Cluster(options(stage.lab, { onEvent: (event) => events.push(event) }));
  await cluster.start();
  assert.deepEqual(events.filter((event) => event.type === "notice").map((event) => event.code), ["plain-path"]);
  assert.equal(cluster.capabilities.snapshot, false);
  await cluster.stop();
});

test("the client interpreter is kept for the next run, everything else is gone", async () => {
  const stage = lab();
  for (let run = 0; run < 3; run++) {
    const cluster = new Cluster(options(stage.lab));
    await cluster.start();
    await cluster.stop();
    assert.deepEqual(stage.alive().map((worker) => worker.isClient), [true]);
  }
  assert.equal(stage.workers.filter((worker) => worker.isClient).length, 1);
  stage.lab.close();
  assert.deepEqual(stage.alive(), []);
});

test("a stop during the start leaves nothing running", async () => {
  const stage = lab();
  const cluster = new Cluster(options(stage.lab, { workers: 4 }));
  const started = cluster.start();
  const stopped = cluster.stop();
  await assert.rejects(started, { code: "stopped" });
  await stopped;
  await until(() => stage.alive().length === 0);
});
