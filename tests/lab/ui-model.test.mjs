// What the lab shows, computed from the runtime's events.
import assert from "node:assert/strict";
import fs from "node:fs";
import test from "node:test";

import { difference, hunks } from "../../docs/assets/lab/diff.js";
import { known, learn, text } from "../../docs/assets/lab/messages-idle.js";
import { MESSAGES, RUN_MESSAGES } from "../../docs/assets/lab/messages.js";
import * as run from "../../docs/assets/lab/run-model.js";
import * as idle from "../../docs/assets/lab/view-model.js";

const here = (path) => new URL(`../../${path}`, import.meta.url);
const worker = (index, pid, more = {}) => ({ index, pid, state: "ready", served: 0, inFlight: 0, restarts: 0, ...more });

function started(...pids) {
  const one = new run.Run();
  one.apply({ type: "workers", workers: pids.map((_, index) => worker(index, 0, { state: "booting" })) });
  pids.forEach((pid, index) => one.apply({ type: "worker", worker: worker(index, pid) }));
  return one;
}

test("the engine's picture is cut where the engine draws its lanes", () => {
  const source = fs.readFileSync(here("src/workerlab/timeline.py"), "utf-8");
  const { LANE, LEFT, RIGHT, TOP } = run.TIMELINE;
  assert.match(source, new RegExp(`^LANE = ${LANE}$`, "m"));
  assert.match(source, new RegExp(`^LEFT, RIGHT = ${LEFT}, ${RIGHT}$`, "m"));
  assert.match(source, new RegExp(`^TOP = ${TOP}$`, "m"));
  const [first, second] = [run.laneBox(0), run.laneBox(1)];
  assert.ok(first.y + first.height <= second.y);
});

test("lanes count the answers of their worker", () => {
  const one = started(11, 12);
  one.apply({ type: "exchanges", rows: [["visit", 11, 0, 0.1, 200, 1], ["visit", 12, 0, 0.2, 200, 7], ["visit", 11, 0.1, 0.3, 500, null]] });
  assert.deepEqual(one.lanes.map(({ count, value }) => [count, value]), [[2, 1], [1, 7]]);
  assert.deepEqual([one.done, one.end, one.lost], [3, 0.3, 0]);
});

test("a killed worker keeps its lane, and begins again at nothing", () => {
  const one = started(11, 12);
  one.apply({ type: "exchanges", rows: [["visit", 12, 0, 0.4, 200, 9]] });
  one.apply({ type: "worker-died", pid: 12, code: "worker-killed", detail: "" });
  one.apply({ type: "worker", worker: worker(1, 13, { restarts: 1 }) });
  one.apply({ type: "exchanges", rows: [["visit", 12, 0, 0.5, 200, 10], ["visit", 13, 0.4, 0.6, 200, 1]] });
  assert.deepEqual(one.lanes[1].pids, [12, 13]);
  assert.deepEqual([one.lanes[1].count, one.lanes[1].value], [1, 1]);
  assert.deepEqual(one.kills, [{ lane: 1, pid: 12, at: 0.5 }]); // after its last answer, which was told late
  one.settle([{ worker: 12, at: 0.7 }]); // as the trace has it
  assert.deepEqual([one.kills[0].at, one.end], [0.7, 0.7]);
  assert.deepEqual(one.pids, [11, 12, 13]);
});

test("a request without an answer is counted as lost", () => {
  const one = started(11);
  one.apply({ type: "exchanges", rows: [["visit", null, 0, 0.1, null, null]] });
  assert.equal(one.lost, 1);
});

test("lanes fill from the left: half of the requests take half of the width", () => {
  const one = started(11);
  one.apply({ type: "exchanges", rows: Array.from({ length: 50 }, (_, i) => ["visit", 11, 0, (i + 1) / 50, 200, i]) });
  const seconds = one.span(100);
  const { LEFT, RIGHT } = run.TIMELINE;
  assert.equal(run.xAt(one.end, seconds), (LEFT + RIGHT) / 2);
});

test("the last GET of a run is what the reader may try again", () => {
  const one = started(11);
  const access = { type: "access", pid: 11, client: 1, status: 200 };
  one.apply({ ...access, method: "GET", target: "/visits" });
  one.apply({ ...access, method: "POST", target: "/other" });
  assert.equal(one.lastGet, "/visits");
});

test("a verdict says which invariants broke", () => {
  const invariants = [{ name: "a", observed: 1000, holds: true }, { name: "b", observed: null, holds: false }];
  const result = { conclusive: true, holds: false, invariants, trace: { exchanges: { status: [200, null, 200] }, events: [{ at_ms: 250, kind: "worker_killed", worker: 7 }, { at_ms: 1, kind: "measured" }] } };
  const verdict = run.verdictOf({ result });
  assert.deepEqual([verdict.kind, verdict.broken, verdict.total, verdict.lost, verdict.requests], ["broken", 1, 2, 1, 3]);
  assert.deepEqual(verdict.killed, [{ worker: 7, at: 0.25 }]);
  assert.deepEqual(verdict.observed.b, { observed: null, holds: false });
  assert.equal(run.verdictOf({ result: { ...result, conclusive: false } }).kind, "inconclusive");
  assert.equal(run.verdictOf({ failure: "だめ", trace: {} }).detail, "だめ");
  assert.equal(run.verdictOf({ cancelled: true }).kind, "cancelled");
});

const TRACEBACK = `ERROR:    Exception in ASGI application
Traceback (most recent call last):
  File "/lib/python3.14/site-packages/fastapi/routing.py", line 8, in app
    await f()
  File "/app/main.py", line 17, in add_visit
    helper()
    ~~~~~~^^
  File "/app/main.py", line 9, in helper
    return 1 / 0
  File "/lib/python3.14/site-packages/starlette/x.py", line 3, in y
    z()
ZeroDivisionError: division by zero
`;

test("the reader's line is the last one in the reader's file", () => {
  assert.equal(run.readersLine(TRACEBACK, "main.py"), 9);
  assert.equal(run.readersLine(TRACEBACK, "examples/t/bad.py"), null);
  assert.equal(run.exceptionOf(TRACEBACK), "ZeroDivisionError: division by zero");
});

test("a shown traceback has the reader's frames, and an ellipsis for the others", () => {
  assert.equal(
    run.shortTraceback(TRACEBACK),
    `ERROR:    Exception in ASGI application
Traceback (most recent call last):
  …
  File "main.py", line 17, in add_visit
    helper()
    ~~~~~~^^
  File "main.py", line 9, in helper
    return 1 / 0
  …
ZeroDivisionError: division by zero`,
  );
});

test("the log keeps the newest lines of each worker", () => {
  const log = new run.Log();
  for (let i = 0; i < 3 * run.Log.LIMIT; i++) log.add(i % 2, `line ${i}\n`);
  assert.equal(log.count, 3 * run.Log.LIMIT);
  assert.ok(log.lines.length <= 2 * run.Log.LIMIT);
  assert.deepEqual(log.tail(1, 2).map((line) => line.text), [`line ${3 * run.Log.LIMIT - 3}`, `line ${3 * run.Log.LIMIT - 1}`]);
  assert.equal(log.tail(null, 5).length, 5);
});

test("an app's file is imported by its name", () => {
  const topic = { slug: "in_memory_counter" };
  assert.deepEqual(run.appOf(topic, "bad"), { path: "examples/in_memory_counter/bad.py", app: "examples.in_memory_counter.bad:app" });
  assert.deepEqual(run.appOf(topic, "own"), { path: "main.py", app: "main:app" });
});

test("numbers look as the engine writes them", () => {
  assert.deepEqual([null, 1000, 0.5].map(idle.number), ["―", "1000", "0.50"]);
  assert.equal(idle.megabytes(13_763_399), "13.8");
});

test("small devices begin with fewer workers", () => {
  assert.equal(idle.defaultWorkers({ memory: 8, small: false }), 4);
  assert.equal(idle.defaultWorkers({ memory: undefined, small: false }), 4);
  assert.equal(idle.defaultWorkers({ memory: 2, small: false }), 2);
  assert.equal(idle.defaultWorkers({ memory: undefined, small: true }), 2);
});

test("a stage says what it lacks", () => {
  assert.deepEqual(idle.missingNeeds(["redis", "sigstop"]), ["sigstop"]);
  assert.deepEqual(idle.missingFeatures({ Worker: 1, WebAssembly: 1, DecompressionStream: 1 }), ["CompressionStream"]);
});

test("a difference has every line once, and its hunks what is near a change", () => {
  const before = Array.from({ length: 20 }, (_, i) => `line ${i}`);
  const after = before.with(10, "changed");
  const lines = difference(before.join("\n"), after.join("\n"));
  assert.deepEqual(lines.filter(({ sign }) => sign !== "+").map((line) => line.text), before);
  assert.deepEqual(lines.filter(({ sign }) => sign !== "-").map((line) => line.text), after);
  assert.deepEqual(hunks(lines, 1).map((line) => line && line.sign), [" ", "-", "+", " "]);
  assert.deepEqual(hunks(difference("a\nb\n", "a\nb\n")), []);
});

test("every text that the interface asks for exists", () => {
  learn({ ...MESSAGES, ...RUN_MESSAGES });
  for (const file of ["worker-lab.js", "view.js", "diff-view.js", "run-view.js", "session.js"]) {
    const source = fs.readFileSync(here(`docs/assets/lab/${file}`), "utf-8");
    for (const [, code] of source.matchAll(/(?:\btext|\bbutton)\("([\w-]+)"/g)) assert.ok(known(code), `${file}: ${code}`);
  }
  for (const state of ["booting", "starting", "ready", "dead"]) assert.ok(known(`state-${state}`), state);
  assert.match(text("no-such-code"), /no-such-code/);
});
