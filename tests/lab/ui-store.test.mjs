// The reader's edit: kept with the lesson's version, and put into a link and back.
import assert from "node:assert/strict";
import test from "node:test";

import { fromFragment, toFragment } from "../../docs/assets/lab/share.js";
import { MAX_CODE, Store, isFor } from "../../docs/assets/lab/store.js";

const EDIT = /** @type {const} */ ({ code: "visits = 0  # 来場者 🎫\n", from: "good", version: "0123456789ab" });

class MemoryStorage {
  map = new Map();
  getItem = (key) => this.map.get(key) ?? null;
  setItem = (key, value) => void this.map.set(key, value);
  removeItem = (key) => void this.map.delete(key);
}

test("an edit comes back with its version and origin", () => {
  const storage = new MemoryStorage();
  assert.equal(new Store("t", () => storage).save(EDIT), true);
  assert.deepEqual(new Store("t", () => storage).load(), EDIT);
  assert.equal(new Store("other", () => storage).load(), null);
});

test("a cleared edit is gone", () => {
  const storage = new MemoryStorage();
  const store = new Store("t", () => storage);
  store.save(EDIT);
  store.clear();
  assert.equal(store.load(), null);
});

test("a browser that forbids storage loses the edit and nothing else", () => {
  const store = new Store("t", () => {
    throw new Error("SecurityError");
  });
  assert.equal(store.save(EDIT), false);
  assert.equal(store.load(), null);
  store.clear();
});

test("what is stored in another form is ignored", () => {
  const storage = new MemoryStorage();
  const store = new Store("t", () => storage);
  for (const text of ["{", "[]", '{"code":1,"version":"x"}', '{"code":"x"}', JSON.stringify({ code: "x".repeat(MAX_CODE + 1), version: "v" })]) {
    storage.setItem(store.key, text);
    assert.equal(store.load(), null, text.slice(0, 40));
  }
});

test("a link carries the edit and is shorter than the code of a long lesson", async () => {
  const long = { ...EDIT, code: EDIT.code.repeat(200) };
  for (const edit of [EDIT, long]) {
    const fragment = await toFragment("in_memory_counter", edit);
    assert.match(fragment, /^#lab=in_memory_counter\.[\w-]+$/);
    assert.deepEqual(await fromFragment("in_memory_counter", fragment), edit);
  }
  assert.ok((await toFragment("t", long)).length < long.code.length / 10);
});

test("a link does not carry the link that an edit came from", async () => {
  const fragment = await toFragment("t", { ...EDIT, link: "#lab=t.older" });
  assert.deepEqual(await fromFragment("t", fragment), EDIT);
});

test("a link belongs to one topic", async () => {
  const fragment = await toFragment("counter", EDIT);
  assert.equal(isFor("counter", fragment), true);
  assert.equal(isFor("count", fragment), false);
  assert.equal(await fromFragment("count", fragment), null);
});

test("a damaged link is null, not an exception", async () => {
  const fragment = await toFragment("t", EDIT);
  for (const damaged of [fragment.slice(0, -6), "#lab=t.", "#lab=t.%%%", "#lab=t.AAAA", `${fragment}${"A".repeat(40_000)}`]) {
    assert.equal(await fromFragment("t", damaged), null, damaged.slice(0, 40));
  }
});

test("a link that would unpack to megabytes is refused", async () => {
  const bomb = { ...EDIT, code: "x".repeat(8_000_000) };
  assert.equal(await toFragment("t", bomb), null);
  const packed = new Uint8Array(await new Response(new Blob([JSON.stringify(bomb)]).stream().pipeThrough(new CompressionStream("deflate-raw"))).arrayBuffer());
  const fragment = `#lab=t.${Buffer.from(packed).toString("base64url")}`;
  assert.ok(fragment.length < 30_000);
  assert.equal(await fromFragment("t", fragment), null);
});
