// The page's PEP 440, compared with Python's `packaging` (tools/pep440_cases.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { Unsupported, answer, compare, parseSpecifiers, parseVersion } from "../../docs/assets/site/pep440.js";

const cases = JSON.parse(readFileSync(new URL("pep440-cases.json", import.meta.url), "utf8"));
const LETTER = { chosen: "c", prerelease: "p", refused: "r" };
const versions = cases.versions.map(parseVersion);

test("every specifier accepts what packaging accepts", () => {
  assert.ok(Object.keys(cases.answers).length > 90);
  const ours = {};
  for (const text of Object.keys(cases.answers)) {
    ours[text] = answer(parseSpecifiers(text), versions).map((one) => LETTER[one]).join("");
  }
  assert.deepEqual(ours, cases.answers);
});

test("versions have packaging's order", () => {
  const ours = cases.versions.toSorted((a, b) => compare(parseVersion(a), parseVersion(b)));
  assert.deepEqual(ours, cases.sorted);
});

test("text that is no specifier is refused", () => {
  for (const text of cases.wrong) assert.throws(() => parseSpecifiers(text), Unsupported, text);
});

test("what is left out says so", () => {
  assert.throws(() => parseSpecifiers("===1.0"), /扱いません/);
  assert.throws(() => parseVersion("1.0+cu124"), /扱いません/);
  assert.throws(() => parseVersion("latest"), /読めません/);
});

test("a pre-release is chosen when nothing else fits", () => {
  const only = ["1.1a1", "1.1rc1"].map(parseVersion);
  assert.deepEqual(answer(parseSpecifiers(">=1.0"), only), ["chosen", "chosen"]);
});
