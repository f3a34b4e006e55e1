// @ts-check
// The lab's DOM before a run: code, controls, table. run-view.js adds what a run shows.

import { text } from "./messages-idle.js";
import { number } from "./view-model.js";

/** @typedef {import("./view-model.js").Topic} Topic */
/** @typedef {Record<string, { observed: number | null, holds: boolean }>} Observed */

export const VARIANTS = ["bad", "good", "own"];
let made = 0;

/** @param {string} variant */
export const nameOf = (variant) => (variant === "own" ? text("own") : `${variant}.py`);

/**
 * @param {string} tag @param {Record<string, any>} [properties] attributes; `part` is our class, on… are listeners
 * @param {(Node | string)[]} children @returns {any}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else if (name === "part") element.className = value.replace(/\S+/g, "wl-lab__$&");
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** A button that can be off without losing the focus. @param {string} code @param {string} part @param {() => void} act @param {object} [more] */
export function button(code, part, act, more = {}) {
  const element = h("button", { type: "button", part, ...more }, text(code));
  element.addEventListener("click", () => element.getAttribute("aria-disabled") !== "true" && act());
  return element;
}

/** @param {HTMLElement} element @param {boolean} enabled */
export const enable = (element, enabled) => element.setAttribute("aria-disabled", String(!enabled));

/**
 * @typedef {Record<"plan" | "run" | "stop" | "undo" | "reset" | "adopt" | "compare" | "share" | "intent", () => void> & { select: (variant: string) => void }} Handlers
 */

export class View {
  /** @type {HTMLElement | null} */
  styles = null;
  /** Whose table is shown: the topic itself, or one of its drills. @type {{ invariants: Topic["invariants"], recorded: any }} */
  plan;

  /** @param {HTMLElement} host @param {Topic} topic @param {Handlers} on @param {number} workers */
  constructor(host, topic, on, workers) {
    this.plan = this.topic = topic;
    this.on = on;
    const id = (this.id = `wl-lab-${++made}`);

    this.edited = h("span", { part: "dot", hidden: true, role: "img", "aria-label": text("edited") });
    this.tabs = VARIANTS.map((variant) => h("button", { type: "button", role: "tab", id: `${id}-${variant}`, "aria-controls": `${id}-panel`, part: "tab", onclick: () => on.select(variant) }, nameOf(variant)));
    this.tabs[2].append(this.edited);
    this.experiment = h("select", { part: "select drill", "aria-label": text("experiment"), onchange: on.plan }, h("option", { value: "" }, text("main")), ...topic.drills.map(([name, label, playable]) => h("option", { value: name, disabled: !playable }, label)));
    this.count = h("select", { part: "select", "aria-label": text("workers") }, ...[1, 2, 3, 4, 5, 6].map((n) => h("option", { value: n, selected: n === workers }, `${n}`)));
    this.runButton = button("run", "button primary", on.run);
    this.stopButton = button("stop", "button", on.stop);
    const bar = h(
      "div",
      { part: "bar" },
      h("div", { role: "tablist", "aria-label": text("tabs"), part: "tabs", onkeydown: (/** @type {KeyboardEvent} */ event) => this.#moveTab(event) }, ...this.tabs),
      h("div", { part: "controls" }, this.experiment, h("span", { part: "soft", "aria-hidden": "true" }, text("workers-short")), this.count, this.runButton, this.stopButton),
    );

    this.code = h("div", { part: "code" });
    this.hint = h("p", { part: "hint", id: `${id}-hint` });
    this.adoptButton = button("adopt", "quiet", on.adopt);
    this.undoButton = button("undo", "quiet", on.undo);
    this.compareButton = button("compare", "quiet", on.compare, { "aria-expanded": "false" });
    this.ownTools = [this.undoButton, button("reset", "quiet", on.reset), this.compareButton, button("share", "quiet", on.share)];
    this.notice = h("div", { part: "notice", hidden: true });
    this.diff = h("div", { part: "diff", hidden: true });
    this.panel = h("div", { role: "tabpanel", id: `${id}-panel` }, this.code, h("div", { part: "tools" }, this.hint, h("div", { part: "row" }, this.adoptButton, ...this.ownTools)), this.notice, this.diff);

    this.statusText = h("span");
    this.meter = h("progress", { part: "meter", max: "1", hidden: true, "aria-label": text("progress") });
    this.results = h("div");
    this.table = h("table", { part: "table" });
    this.more = h("div");
    this.differs = h("p", { part: "differs" }, text("differs"));
    this.live = h("p", { part: "spoken", role: "status" });
    host.replaceChildren(
      h(
        "section",
        { part: "frame", "aria-label": text("lab", { title: topic.title }), onpointerenter: on.intent, onfocusin: on.intent },
        ...[bar, this.panel, h("div", { part: "status" }, this.statusText, this.meter), this.results, this.table, this.more, this.differs, this.live],
      ),
    );
  }

  /** The name of the chosen drill; "": none. */
  get drill() {
    return this.experiment.value;
  }

  get workers() {
    return Number(this.count.value);
  }

  /** Only this line instead of a lab. @param {HTMLElement} host @param {string} message */
  static refuse(host, message) {
    host.replaceChildren(h("p", { part: "refusal" }, message));
  }

  /** Inside the lab: instant navigation clears the head. @param {string} href */
  addStyles(href) {
    this.styles ??= this.results.appendChild(h("link", { rel: "stylesheet", href }));
  }

  /** @param {string} message */
  say(message) {
    this.live.textContent = message;
  }

  /** @param {string} variant */
  showVariant(variant) {
    const own = variant === "own";
    for (const [at, tab] of this.tabs.entries()) {
      const chosen = VARIANTS[at] === variant;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen) this.panel.setAttribute("aria-labelledby", tab.id);
    }
    this.hint.textContent = text(own ? "hint" : "hint-locked");
    this.adoptButton.hidden = own;
    for (const each of this.ownTools) each.hidden = !own;
    if (!own) this.showDiff(null);
  }

  /** @param {{ edited: boolean, canUndo: boolean }} state */
  showEdited({ edited, canUndo }) {
    this.edited.hidden = !edited;
    enable(this.undoButton, canUndo);
  }

  /** A line about the code, with what the reader can do about it. @param {string | null} message @param {[string, () => void][]} [actions] @param {Node[]} [extra] */
  showNotice(message, actions = [], extra = []) {
    this.notice.hidden = message === null;
    this.notice.replaceChildren(h("span", {}, message ?? ""), ...actions.map(([code, act]) => button(code, "quiet", act)), ...extra);
    if (message !== null) this.say(message);
  }

  /** @param {string} link */
  linkField(link) {
    const field = h("input", { part: "link", readonly: true, value: link, "aria-label": text("link-field"), onfocus: () => field.select() });
    return field;
  }

  /** @param {(Node | string)[] | null} content null: closed */
  showDiff(content) {
    const open = content !== null;
    this.diff.hidden = !open;
    this.compareButton.setAttribute("aria-expanded", String(open));
    this.compareButton.textContent = text(open ? "compare-close" : "compare");
    this.diff.replaceChildren(...(content ?? []));
  }

  /** @param {{ busy: boolean, alive: boolean }} state busy: something goes on; alive: there are workers */
  showControls({ busy, alive }) {
    enable(this.runButton, !busy);
    enable(this.stopButton, busy || alive);
    this.count.disabled = this.experiment.disabled = busy;
  }

  /** @param {string} message @param {number | "unknown" | null} [share] done, 0 to 1; null: nothing goes on */
  showStatus(message, share = null) {
    this.statusText.textContent = message;
    this.meter.hidden = share === null;
    if (typeof share === "number") this.meter.value = share;
    else this.meter.removeAttribute("value");
  }

  /** @param {string} variant whose recording is shown @param {Observed} [observed] @param {Record<string, string>} [whys] */
  showTable(variant, observed = {}, whys = {}) {
    const { invariants, recorded } = this.plan;
    const heads = ["invariant", "expected", "recorded", "observed"].map((code) => h("th", { scope: "col" }, text(code)));
    heads[2].title = text("recorded-hint", { workers: recorded?.workers });
    const cell = (/** @type {{ observed: number | null, holds: boolean } | undefined} */ seen) => h("td", {}, ...(seen ? [h("span", { part: seen.holds ? "good" : "bad" }, seen.holds ? "○" : "×"), ` ${number(seen.observed)}`] : ["―"]));
    const rows = invariants.map(({ name, label, requirement }) => {
      const now = observed[name];
      const past = recorded?.[variant]?.[name];
      const why = now && !now.holds ? [h("span", { part: "why" }, whys[name] ?? "")] : [];
      return h("tr", {}, h("th", { scope: "row" }, label, ...why), h("td", {}, requirement), cell(past && { observed: past[0], holds: past[1] }), cell(now));
    });
    this.table.replaceChildren(h("thead", {}, h("tr", {}, ...heads)), h("tbody", {}, ...rows));
  }

  /** @param {KeyboardEvent} event */
  #moveTab(event) {
    const at = this.tabs.indexOf(/** @type {any} */ (event.target));
    const to = /** @type {Record<string, number>} */ ({ ArrowRight: at + 1, ArrowLeft: at + 2, Home: 0, End: 2 })[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    this.on.select(VARIANTS[to % 3]);
    this.tabs[to % 3].focus();
  }
}
