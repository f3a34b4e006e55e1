// @ts-check
/** `<worker-calculator>`: a form that explains its answer. Without JavaScript its text stays. */

import { FIELDS, NAMES, readAll, workerCount } from "./worker-count.js";

/** @typedef {import("./worker-count.js").Name} Name */

/** @type {[string, Name[]][]} */
const GROUPS = [
  ["CPU とメモリ", ["cores", "memory", "perWorker"]],
  ["データベース", ["connections", "poolSize", "overflow", "containers"]],
];

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** @param {Name} name */
function field(name) {
  const { label, unit, value, min, whole, optional } = FIELDS[name];
  const id = `wc-${name}`;
  const input = make("input", {
    id,
    name,
    type: "number",
    inputmode: whole ? "numeric" : "decimal",
    min: String(min),
    step: whole ? "1" : "any",
    value,
    "aria-describedby": `${id}-error`,
  });
  const words = `${label}（${unit}${optional ? "。空欄なら確かめません" : ""}）`;
  return make(
    "div",
    { class: "wc-field" },
    make("label", { for: id }, words),
    input,
    make("span", { id: `${id}-error`, class: "wc-error" }),
  );
}

class WorkerCalculator extends HTMLElement {
  connectedCallback() {
    const groups = GROUPS.map(([legend, names]) =>
      make("fieldset", {}, make("legend", {}, legend), ...names.map(field)),
    );
    this.form = make("form", { novalidate: "" }, ...groups);
    this.answer = make("div", { class: "wc-answer", role: "status" });
    this.form.addEventListener("input", () => this.update());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.replaceChildren(this.form, this.answer);
    this.update();
  }

  update() {
    if (!this.form || !this.answer) return;
    const inputs = [...this.form.querySelectorAll("input")];
    const texts = Object.fromEntries(
      // What is no number at all reads as "", as if the field were empty.
      inputs.map((input) => [input.name, input.validity.badInput ? "?" : input.value]),
    );
    const { machine, errors } = readAll(/** @type {Record<Name, string>} */ (texts));
    for (const input of inputs) {
      const error = errors[/** @type {Name} */ (input.name)] ?? "";
      input.setAttribute("aria-invalid", String(error !== ""));
      const place = document.getElementById(`${input.id}-error`);
      if (place) place.textContent = error;
    }
    this.answer.replaceChildren(
      ...(machine ? explanation(workerCount(machine)) : [make("p", {}, "入力を直すと、ここに答えが出ます。")]),
    );
  }
}

/** @param {import("./worker-count.js").Answer} answer */
function explanation({ headline, bounds, notes, decided }) {
  const rows = bounds.map(({ limit, text }) =>
    make(
      "li",
      limit === decided ? { class: "wc-decided" } : {},
      make("strong", {}, `${NAMES[limit]}${limit === decided ? "（これで決まり）" : ""}`),
      `：${text}`,
    ),
  );
  return [
    make("p", { class: "wc-headline" }, headline),
    make("ul", {}, ...rows),
    ...notes.map((note) => make("p", {}, note)),
  ];
}

customElements.define("worker-calculator", WorkerCalculator);
