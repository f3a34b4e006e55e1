// Pure helpers, and the promise that every code has a sentence.
import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { MESSAGES, accessLine, downloadProgress } from "../../docs/assets/lab/messages.js";
import { decodeBody, fromBinaryString, splitTarget, toBinaryString } from "../../docs/assets/lab/protocol.js";

const LAB = new URL("../../docs/assets/lab/", import.meta.url);

test("binary strings keep every byte", () => {
  const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i & 255);
  assert.deepEqual(fromBinaryString(toBinaryString(bytes)), bytes);
});

test("a body is decoded as UTF-8", () => {
  assert.equal(decodeBody(toBinaryString(new TextEncoder().encode("来場者"))), "来場者");
});

test("a target is split at the first question mark", () => {
  assert.deepEqual(splitTarget("/a"), ["/a", ""]);
  assert.deepEqual(splitTarget("/a?b=c?d"), ["/a", "b=c?d"]);
});

test("every error code in the runtime's sources has a message", () => {
  const codes = new Set();
  for (const name of fs.readdirSync(LAB).filter((file) => file.endsWith(".js"))) {
    const source = fs.readFileSync(new URL(name, LAB), "utf8");
    for (const [, code] of source.matchAll(/new LabError\("([\w-]+)"/g)) codes.add(code);
    for (const [, code] of source.matchAll(/type: "notice", code: "([\w-]+)"/g)) codes.add(code);
  }
  assert.ok(codes.size > 8);
  assert.deepEqual([...codes].filter((code) => !(code in MESSAGES)), []);
});

test("the access log reads as uvicorn's", () => {
  assert.equal(accessLine({ client: 5, method: "GET", target: "/a?b", status: 200 }), 'INFO:     127.0.0.1:5 - "GET /a?b HTTP/1.1" 200');
});

test("progress is told in MB", () => {
  assert.match(downloadProgress(1_234_567, 13_700_000), /1\.2 \/ 13\.7 MB/);
});
