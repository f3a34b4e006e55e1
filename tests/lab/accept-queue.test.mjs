// The kernel's accept queue: chance decides among the idle, the busy are passed over.
import assert from "node:assert/strict";
import { test } from "node:test";
import { AcceptQueue } from "../../docs/assets/lab/accept-queue.js";

/** A queue whose processes answer every wake-up at once, except the busy ones. */
function playing(names, { busy = [], random = Math.random } = {}) {
  const taken = new Map(names.map((name) => [name, []]));
  const queue = new AcceptQueue((name) => {
    if (!busy.includes(name)) queueMicrotask(() => taken.get(name).push(...queue.accept(name)));
  }, random);
  for (const name of names) queue.listen(name);
  return { queue, taken };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

async function until(condition) {
  const end = Date.now() + 60_000;
  while (!condition()) {
    assert.ok(Date.now() < end, "deadline");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test("every connection is taken exactly once", async () => {
  const { queue, taken } = playing(["a", "b", "c"]);
  for (let i = 0; i < 300; i++) queue.connect(i);
  await until(() => queue.waiting === 0);
  const all = [...taken.values()].flat().sort((x, y) => x - y);
  assert.deepEqual(all, Array.from({ length: 300 }, (_, i) => i));
});

test("the distribution is not a round robin", async () => {
  const { queue, taken } = playing(["a", "b"]);
  const order = [];
  for (let i = 0; i < 100; i++) {
    queue.connect(i);
    await settled();
    order.push(taken.get("a").includes(i) ? "a" : "b");
  }
  const repeats = order.filter((name, i) => i > 0 && name === order[i - 1]).length;
  assert.ok(repeats > 10 && repeats < 90, `${repeats} of 99 went to the same process as the one before`);
});

test("a busy process gets nothing, the others are woken in its place", async () => {
  const { queue, taken } = playing(["busy", "idle"], { busy: ["busy"], random: () => 0 });
  for (let i = 0; i < 20; i++) queue.connect(i);
  await until(() => queue.waiting === 0);
  assert.equal(taken.get("busy").length, 0);
  assert.equal(taken.get("idle").length, 20);
});

test("what a dead process had not taken goes to another", async () => {
  const { queue, taken } = playing(["dying", "living"], { busy: ["dying"], random: () => 0 });
  queue.connect("request");
  queue.unlisten("dying");
  await until(() => queue.waiting === 0);
  assert.deepEqual(taken.get("living"), ["request"]);
});

test("without a listening process the connection is refused", () => {
  const { queue } = playing([]);
  assert.equal(queue.connect("request"), false);
});

test("a connection that nobody took can be withdrawn once", () => {
  const { queue } = playing(["busy"], { busy: ["busy"] });
  queue.connect("request");
  assert.equal(queue.withdraw("request"), true);
  assert.equal(queue.withdraw("request"), false);
  assert.deepEqual(queue.drain(), []);
});
