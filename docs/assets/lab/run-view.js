// @ts-check
// The lab's DOM of a run: problem, lanes, verdict, requests by hand, log.

import { text } from "./messages-idle.js";
import { TIMELINE, laneBox, xAt } from "./run-model.js";
import { button, enable, h } from "./view.js";
import { number } from "./view-model.js";

/** @typedef {import("./run-model.js").Lane} Lane */

const SVG = "http://www.w3.org/2000/svg";
/** What may be taken from a drawing of the engine. */
const SHAPES = "path, polyline";
const GEOMETRY = ["d", "points", "class", "stroke-dasharray"];
const ANSWERS = 6;

/** @param {string} tag @param {Record<string, any>} attributes */
function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/** A copy of a shape only, whatever else a drawing may hold. @param {Element} shape */
function copy(shape) {
  const names = GEOMETRY.filter((name) => shape.hasAttribute(name));
  return svg(shape.localName, Object.fromEntries(names.map((name) => [name, shape.getAttribute(name)])));
}

/** @param {{ x: number, y: number, width: number, height: number }} box */
const viewBox = ({ x, y, width, height }) => `${x} ${y} ${width} ${height}`;

/** @param {{ x: number, y: number, width: number, height: number }} box */
const plotOf = (box) => svg("svg", { class: "wl-lab__plot", viewBox: viewBox(box), preserveAspectRatio: "none", "aria-hidden": "true" });

export class RunView {
  /**
   * @param {import("./view.js").View} view
   * @param {{ kill: (lane: number) => void, probe: () => void, log: () => void }} on log: it was opened, or another part chosen
   */
  constructor(view, on) {
    this.on = on;
    const { id } = view;
    this.problem = h("div", { part: "problem", hidden: true });
    this.laneList = h("ol", { part: "lanes", hidden: true, "aria-label": text("lanes") });
    this.axis = h("div", { part: "axis", hidden: true, "aria-hidden": "true" });
    this.verdict = h("p", { part: "verdict", hidden: true });
    view.results.append(this.problem, this.laneList, this.axis, this.verdict);

    this.probeButton = button("probe", "button", on.probe);
    this.probeAnswers = h("ol", { part: "answers", "aria-live": "polite" });
    this.probe = h("div", { part: "probe", hidden: true }, this.probeButton, this.probeAnswers);
    this.logButton = button("log", "disclosure", () => this.#toggleLog(), { "aria-expanded": "false", "aria-controls": `${id}-log` });
    this.logFilter = h("select", { part: "select", "aria-label": text("log-filter"), onchange: on.log });
    this.logLines = h("pre", { tabindex: "0", role: "region", "aria-label": text("log-region") });
    this.logBox = h("div", { id: `${id}-log`, hidden: true }, this.logFilter, this.logLines);
    this.log = h("div", { part: "logs", hidden: true }, this.logButton, this.logBox);
    view.more.append(this.probe, this.log);
  }

  /** @param {string | null} title null: none @param {string} [where] @param {string} [traceback] */
  showProblem(title, where = "", traceback = "") {
    this.problem.hidden = title === null;
    this.problemWhere = h("span", {}, where);
    const pre = traceback ? [h("pre", { tabindex: "0", role: "region", "aria-label": title }, traceback)] : [];
    this.problem.replaceChildren(h("p", { part: "problem-title" }, h("strong", {}, title ?? ""), this.problemWhere), ...pre);
  }

  /** @param {readonly Lane[]} lanes */
  buildLanes(lanes) {
    this.rows = lanes.map(({ index }) => this.#row(index));
    this.lostRow = null;
    this.laneList.replaceChildren(...this.rows.map((row) => row.element));
    this.laneList.hidden = false;
    this.axis.hidden = true;
    this.log.hidden = false;
    this.logFilter.replaceChildren(
      h("option", { value: "all" }, text("log-all")),
      ...lanes.map(({ index }) => h("option", { value: index }, `${text("workers-short")} ${index + 1}`)),
      h("option", { value: "-1" }, text("log-client")),
    );
  }

  hideLanes() {
    this.laneList.hidden = true;
  }

  /** @param {readonly Lane[]} lanes */
  showLanes(lanes) {
    for (const lane of lanes) {
      const row = this.rows?.[lane.index];
      if (!row) continue;
      row.element.dataset.state = lane.state;
      row.pid.textContent = lane.pid ? text("pid", { pid: lane.pid }) : "";
      row.state.textContent = text(`state-${lane.state}`);
      row.restarts.textContent = lane.restarts ? text("restarts", { count: lane.restarts }) : "";
      row.value.textContent = number(lane.value);
      row.count.textContent = text("served", { count: lane.count });
      enable(row.kill, lane.state === "ready" || lane.state === "starting");
    }
  }

  /**
   * Put the engine's picture into the lanes. Its lanes are processes, ours are places: a
   * restarted worker has two of its lanes, drawn one over the other.
   * @param {string} picture @param {readonly Lane[]} lanes
   * @param {{ kills: { lane: number, at: number }[], seconds: number, finished: boolean, lost: number, expected: number | null }} more
   */
  drawLanes(picture, lanes, { kills, seconds, finished, lost, expected }) {
    if (!this.rows) return;
    const drawn = new DOMParser().parseFromString(picture, "image/svg+xml");
    const places = [...drawn.querySelectorAll("g.wl-lane")];
    const { y, height } = laneBox(0);
    for (const lane of lanes) {
      const layers = lane.pids.flatMap((pid, generation) => {
        const place = places.findIndex((group) => group.getAttribute("data-worker") === String(pid));
        return place < 0 ? [] : [this.#layer(places[place], place, generation)];
      });
      const marks = kills.filter((kill) => kill.lane === lane.index).map(({ at }) => svg("path", { class: "wl-kill", d: `M${xAt(at, seconds).toFixed(1)} ${y}v${height}` }));
      this.rows[lane.index].plot.replaceChildren(...layers, ...marks);
    }
    if (lost) this.#drawLost(drawn, places.length, lost);
    this.axis.hidden = !finished;
    this.axis.replaceChildren(h("span", {}, "0"), h("span", {}, text("legend") + (expected === null ? "" : text("legend-line", { expected: number(expected) }))), h("span", {}, text("seconds", { seconds: seconds.toFixed(2) })));
  }

  /** @param {string | null} kind null: no verdict @param {string} [message] @param {string} [detail] */
  showVerdict(kind, message = "", detail = "") {
    this.verdict.hidden = kind === null;
    this.verdict.dataset.kind = kind ?? "";
    this.verdict.replaceChildren(h("strong", {}, message), h("span", {}, detail));
  }

  /** @param {string | null} request null: nothing to try */
  showProbe(request) {
    this.probe.hidden = request === null;
    if (request !== null) this.probeButton.textContent = text("probe", { request });
    this.probeAnswers.replaceChildren();
  }

  /** @param {string} answer */
  addAnswer(answer) {
    this.probeAnswers.prepend(h("li", {}, answer));
    while (this.probeAnswers.children.length > ANSWERS) this.probeAnswers.lastChild.remove();
  }

  /** @param {import("./run-model.js").Log} log */
  showLog(log) {
    this.logButton.textContent = text("log", { count: log.count });
    if (this.logBox.hidden) return;
    const all = this.logFilter.value === "all";
    const lines = log.tail(all ? null : Number(this.logFilter.value));
    const prefix = (/** @type {number} */ lane) => (!all ? "" : lane < 0 ? "   " : `${lane + 1}  `);
    this.logLines.textContent = lines.map((line) => prefix(line.lane) + line.text).join("\n");
    this.logLines.scrollTop = this.logLines.scrollHeight;
  }

  /** @param {number} index */
  #row(index) {
    const worker = index + 1;
    const [pid, state, restarts, count] = ["fact", "state", "fact", "count"].map((part) => h("span", { part }));
    const value = h("b", { part: "value" });
    const plot = plotOf(laneBox(0));
    const kill = button("kill", "kill", () => this.on.kill(index), { title: text("kill-hint"), "aria-label": text("kill-worker", { worker }) });
    const who = h("div", { part: "who" }, h("b", {}, `${text("workers-short")} ${worker}`), h("span", { part: "facts" }, state, pid, restarts));
    return { element: h("li", { part: "lane" }, who, plot, h("div", { part: "total" }, value, count), kill), pid, state, restarts, value, count, kill, plot };
  }

  /** @param {Element} group @param {number} place @param {number} generation */
  #layer(group, place, generation) {
    const layer = svg("g", { transform: `translate(0 ${-TIMELINE.LANE * place})`, class: generation ? "wl-again" : "" });
    layer.append(...[...group.querySelectorAll(SHAPES)].map(copy));
    return layer;
  }

  /** Requests that nobody answered have a row of their own. @param {Document} drawn @param {number} place @param {number} lost */
  #drawLost(drawn, place, lost) {
    const { x, width } = laneBox(place);
    const box = { x, y: TIMELINE.TOP + TIMELINE.LANE * place - 3, width, height: 12 };
    if (!this.lostRow) {
      const row = (this.lostRow = { plot: plotOf(box), count: h("span", { part: "count" }) });
      this.laneList.append(h("li", { part: "lane lost" }, h("div", { part: "who" }, h("b", {}, text("lost"))), row.plot, h("div", { part: "total" }, row.count)));
    }
    this.lostRow.count.textContent = text("served", { count: lost });
    this.lostRow.plot.setAttribute("viewBox", viewBox(box));
    this.lostRow.plot.replaceChildren(...[...drawn.querySelectorAll("svg > path.wl-fail")].map(copy));
  }

  #toggleLog() {
    const open = this.logBox.hidden;
    this.logBox.hidden = !open;
    this.logButton.setAttribute("aria-expanded", String(open));
    if (open) this.on.log();
  }
}
