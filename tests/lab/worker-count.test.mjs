// The calculator of 「ワーカー数の決め方」: the number, the limit that decided, the words.
import assert from "node:assert/strict";
import test from "node:test";

import { FIELDS, oldRule, read, readAll, workerCount } from "../../docs/assets/site/worker-count.js";

const machine = (more = {}) => ({
  cores: 2,
  memory: null,
  perWorker: null,
  connections: null,
  pool: 15,
  containers: 1,
  ...more,
});

test("without other limits there is a worker for each whole core", () => {
  for (const [cores, workers] of [[0.25, 1], [0.5, 1], [1, 1], [1.5, 1], [2, 2], [8, 8]]) {
    const answer = workerCount(machine({ cores }));
    assert.deepEqual([answer.workers, answer.decided], [workers, "cpu"], `${cores}`);
  }
});

test("the smallest limit decides, and says so", () => {
  const roomy = { cores: 8, memory: 1000, perWorker: 100, connections: 150, pool: 15 };
  assert.equal(workerCount(machine(roomy)).decided, "cpu");
  const little = workerCount(machine({ ...roomy, memory: 350 }));
  assert.deepEqual([little.workers, little.decided], [3, "memory"]);
  assert.match(little.headline, /^3 ワーカーから始めます。決めたのは、メモリです。$/);
  const few = workerCount(machine({ ...roomy, connections: 40 }));
  assert.deepEqual([few.workers, few.decided], [2, "database"]);
});

test("containers divide the database, not the memory", () => {
  const answer = workerCount(
    machine({ cores: 4, memory: 400, perWorker: 100, connections: 60, pool: 15, containers: 2 }),
  );
  assert.deepEqual([answer.workers, answer.decided], [2, "database"]);
  assert.deepEqual(answer.bounds.map(({ workers }) => workers), [4, 4, 2]);
});

test("a limit that leaves room for nobody is named", () => {
  const answer = workerCount(machine({ connections: 10, pool: 15 }));
  assert.equal(answer.workers, 0);
  assert.equal(answer.headline, "1 つも動かせません。足りないのは、データベースの接続です。");
});

test("the old rule is held against the limits", () => {
  assert.deepEqual([0.5, 1, 2, 8].map((cores) => oldRule(machine({ cores }))), [2, 3, 5, 17]);
  const over = workerCount(machine({ memory: 300, perWorker: 80, connections: 60 }));
  assert.match(over.notes.join(""), /5 つです。メモリは 400 MiB、接続は最大 75 本になり、上限を超えます。/);
  const within = workerCount(machine({ memory: 4000, perWorker: 80, connections: 400 }));
  assert.match(within.notes.join(""), /収まります/);
});

test("what was not asked is said", () => {
  const notes = workerCount(machine()).notes.join("");
  assert.match(notes, /メモリは確かめていません/);
  assert.match(notes, /接続は確かめていません/);
});

test("less than a core, and a single worker, have their warnings", () => {
  const notes = workerCount(machine({ cores: 0.5 })).notes.join("");
  assert.match(notes, /同じ CPU の割り当て/);
  assert.match(notes, /起動し直すまで/);
  assert.doesNotMatch(workerCount(machine({ cores: 4 })).notes.join(""), /起動し直すまで/);
});

test("division does not lose a worker to floating point", () => {
  assert.equal(workerCount(machine({ cores: 9, memory: 0.3, perWorker: 0.1 })).workers, 3);
});

test("fields are read, or told what they lack", () => {
  assert.deepEqual(read("memory", ""), { value: null, error: "" });
  assert.match(read("cores", "").error, /数を入れて/);
  assert.match(read("cores", "0").error, /0.05 以上/);
  assert.match(read("cores", "abc").error, /0.05 以上/);
  assert.match(read("connections", "1.5").error, /整数/);
  assert.deepEqual(read("overflow", "0"), { value: 0, error: "" });
});

test("the initial form has an answer, one wrong field has none", () => {
  const texts = Object.fromEntries(Object.entries(FIELDS).map(([name, { value }]) => [name, value]));
  const { machine: read, errors } = readAll(texts);
  assert.deepEqual(errors, {});
  assert.deepEqual([workerCount(read).workers, read.pool], [2, 15]);
  const wrong = readAll({ ...texts, poolSize: "0" });
  assert.equal(wrong.machine, null);
  assert.deepEqual(Object.keys(wrong.errors), ["poolSize"]);
});
