// @ts-check
// A button under each cell of a notebook that can run in the page. The recorded output stays
// until the reader presses 実行, and comes back when the reader wants it. Only this file and
// messages.js are loaded before that.

import { text } from "./messages.js";

/** @typedef {import("./kernel.js").Kernel} Kernel */
/** @typedef {import("./kernel.js").Progress} Progress */

/** @param {number} bytes */
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

/** The cells of the page by their names. @type {Map<string, Cell>} */
const cells = new Map();
/** @type {Kernel | null} */
let kernel = null;
/** The cell that was pressed and has not ended. @type {Cell | null} */
let pressed = null;
/** The cell that runs: the pressed one, or one that it needs. @type {Cell | null} */
let current = null;
/** Bytes of a first run. */
let total = 0;
/** Grows with every start and stop: what comes late is dropped. */
let turn = 0;

/** Speaks for all cells. */
const live = document.createElement("p");
live.className = "wl-cells-live";
live.role = "status";

/** @template {keyof HTMLElementTagNameMap} K @param {K} tag @param {string} name @returns {HTMLElementTagNameMap[K]} */
function make(tag, name) {
  const element = document.createElement(tag);
  element.className = name;
  return element;
}

/** @param {string} name */
function button(name) {
  const element = make("button", `md-button wl-button ${name}`);
  element.type = "button";
  return element;
}

class Cell {
  done = false;
  printed = "";

  /** @param {HTMLElement} bar */
  constructor(bar) {
    this.bar = bar;
    this.number = Number(bar.dataset.number);
    this.ident = bar.dataset.cell ?? "";
    this.needs = (bar.dataset.needs ?? "").split(" ").filter(Boolean);
    const block = bar.previousElementSibling;
    this.source = block?.querySelector("code")?.textContent ?? "";
    const next = bar.nextElementSibling;
    this.recorded = next instanceof HTMLElement && next.matches(".wl-output") ? next : null;
    this.own = make("div", "wl-output wl-output--own");
    this.own.hidden = true;
    (this.recorded ?? bar).after(this.own);
    this.play = button("wl-cell__play");
    this.back = button("wl-cell__back");
    this.back.hidden = true;
    this.status = make("span", "wl-cell__status");
    bar.append(this.play, this.back, this.status);
    this.play.addEventListener("click", () => (pressed === this ? stop() : press(this)));
    this.back.addEventListener("click", () => this.show(this.own.hidden === true));
    this.offer(false);
  }

  /** What the button does now. @param {boolean} busy whether a press stops it */
  offer(busy) {
    this.play.textContent = text(busy ? "stop" : "run");
    this.play.setAttribute("aria-label", text(busy ? "stop-name" : "run-name", { cell: this.number }));
  }

  /** @param {boolean} own the output of this page, or the recorded one */
  show(own) {
    this.own.hidden = !own;
    if (this.recorded) this.recorded.hidden = own;
    this.back.textContent = text(own ? "recorded" : "own");
  }

  /** A new output, in place of the recorded one. @param {(string | Node)[]} parts */
  fill(parts) {
    this.own.replaceChildren(...parts);
    this.back.hidden = !this.recorded || !parts.length;
    this.show(parts.length > 0);
  }

  /** @param {import("./kernel.js").Outcome} outcome @returns {boolean} whether it went well */
  finish(outcome) {
    /** @type {Node[]} */
    const parts = this.printed ? [lines(this.printed)] : [];
    const error = "traceback" in outcome ? outcome.traceback : "failure" in outcome ? outcome.failure : "";
    if (error) parts.push(lines(error, "wl-cell__error"));
    if ("html" in outcome && outcome.html) parts.push(document.createRange().createContextualFragment(outcome.html));
    this.fill(parts);
    this.done = !error;
    const asserts = /^\s*assert /m.test(this.source);
    this.status.textContent = text(error ? "failed" : asserts ? "done-asserts" : "done");
    return this.done;
  }
}

/** @param {string} words @param {string} [name] */
function lines(words, name = "") {
  const block = make("pre", name);
  block.textContent = words.replace(/\n$/, "");
  return block;
}

/** The cell's own, then all that it needs and has not run. @param {Cell} cell */
async function press(cell) {
  if (pressed) return;
  const mine = ++turn;
  pressed = current = cell;
  for (const each of cells.values()) {
    each.play.disabled = each !== cell;
    if (!each.done) each.status.textContent = "";
  }
  cell.offer(true);
  cell.status.textContent = text("preparing");
  try {
    await (kernel ? undefined : open(mine));
    const waiting = [...cells.values()].filter((each) => each === cell || (cell.needs.includes(each.ident) && !each.done));
    waiting.sort((a, b) => a.number - b.number); // they are mounted in any order
    for (const each of waiting) if (mine !== turn || !(await run(each, mine))) break;
  } catch (error) {
    if (mine === turn) await broken(error);
  }
  if (mine === turn) release();
}

/** @param {number} mine */
async function open(mine) {
  const missing = ["Worker", "WebAssembly", "DecompressionStream"].filter((name) => !(name in globalThis));
  if (missing.length) throw new Error(text("no-browser", { missing: missing.join("、") }));
  const name = location.pathname.split("/").filter(Boolean).at(-1);
  const [{ Kernel }, response] = await Promise.all([import("./kernel.js"), fetch(new URL(`./built/${name}.json`, import.meta.url))]);
  const notebook = response.ok ? await response.json() : null;
  if (!notebook?.runtime) throw new Error(text("not-built"));
  total = notebook.runtime;
  const started = new Kernel(notebook, (progress) => kernel === started && show(progress));
  if (mine !== turn) return;
  kernel = started;
  await started.start();
}

/** @param {Cell} cell @param {number} mine @returns {Promise<boolean>} whether it went well */
async function run(cell, mine) {
  const asked = /** @type {Cell} */ (pressed);
  current = cell;
  cell.printed = "";
  cell.status.textContent = text("running");
  if (cell !== asked) asked.status.textContent = text("before", { cell: cell.number });
  const outcome = await /** @type {Kernel} */ (kernel).execute(cell.ident, cell.source);
  if (mine !== turn) return false;
  const well = cell.finish(outcome);
  if (cell !== asked) asked.status.textContent = well ? "" : text("before-failed", { cell: cell.number });
  live.textContent = text(well ? "say-done" : "say-failed", { cell: cell.number });
  return well;
}

/** @param {Progress} progress */
function show(progress) {
  if (!pressed || !current) return;
  if (progress.kind === "printed") current.printed += `${progress.text}\n`;
  else if (progress.kind === "loading") {
    const loaded = Math.min(progress.loaded, total);
    current.status.textContent = loaded < total ? text("loading", { loaded: megabytes(loaded), total: megabytes(total) }) : text("preparing");
  } else current.status.textContent = text(progress.kind, progress.kind === "starting" ? { ready: progress.ready, total: progress.total } : { done: progress.done, total: progress.total });
}

/** The interpreter is gone, and with it every variable. @param {any} error */
async function broken(error) {
  const { MESSAGES } = await import("../lab/messages.js");
  forget();
  const cell = /** @type {Cell} */ (current);
  cell.status.textContent = MESSAGES[error?.code] ?? String(error?.message ?? error);
  live.textContent = cell.status.textContent;
}

function forget() {
  kernel?.stop();
  kernel = null;
  for (const cell of cells.values()) cell.done = false;
}

/** The reader wants it to end. */
function stop() {
  const cell = pressed;
  turn += 1;
  forget();
  if (current && current !== cell) current.status.textContent = "";
  if (cell) cell.status.textContent = live.textContent = text("stopped");
  release();
}

function release() {
  pressed?.offer(false);
  pressed = current = null;
  for (const cell of cells.values()) cell.play.disabled = false;
}

addEventListener("pagehide", () => kernel && stop());

/** @param {HTMLElement} bar */
export function mount(bar) {
  const cell = new Cell(bar);
  cells.set(cell.ident, cell);
  if (!live.isConnected) bar.closest("article")?.append(live);
}
