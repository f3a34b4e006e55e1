// @ts-check
// A difference as the page shows it; loaded when the reader compares.

import { difference, hunks } from "./diff.js";
import { text } from "./messages-idle.js";
import { h } from "./view.js";

/** @type {Record<string, string>} */
const KINDS = { "+": "added", "-": "removed" };

/** @param {string} before @param {string} after @param {string} name of the text before */
export function showDifference(before, after, name) {
  const lines = hunks(difference(before, after));
  if (!lines.length) return [text("diff-none", { name })];
  const rows = lines.map((line) => (line ? h("span", { part: `line ${KINDS[line.sign] ?? "same"}` }, `${line.sign} ${line.text}\n`) : h("span", { part: "line soft" }, "⋯\n")));
  return [h("pre", { role: "region", tabindex: "0", "aria-label": text("diff", { name }) }, ...rows)];
}
