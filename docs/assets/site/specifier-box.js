// @ts-check
/** The reader types a specifier and versions, and sees which fit. Pure logic is in pep440.js. */

import { Unsupported, answer, parseSpecifiers, parseVersion } from "./pep440.js";

const FIRST = { specifier: "~=0.109.2", versions: "0.108.9 0.109.2 0.109.3 0.110.0rc1 0.110.0 1.0.0" };
/** @type {Record<import("./pep440.js").Answer, string>} */
const WORDS = {
  chosen: "○ 合う",
  prerelease: "△ 合うが、正式版があるので選ばれない",
  refused: "× 合わない",
};

/**
 * @param {string} name
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/**
 * A labelled text field.
 * @param {string} id
 * @param {string} text
 * @param {string} value
 */
function field(id, text, value) {
  const input = document.createElement("input");
  Object.assign(input, { id, value, type: "text", spellcheck: false, autocomplete: "off" });
  input.setAttribute("aria-describedby", "wl-specifier-summary");
  return { input, row: make("p", {}, make("label", { for: id }, text), input) };
}

/**
 * What stands below the fields: a row for each version, and one sentence.
 * @param {string} specifier
 * @param {string} versions
 */
function judge(specifier, versions) {
  const texts = versions.split(/[\s,、]+/).filter(Boolean);
  const answers = answer(parseSpecifiers(specifier), texts.map(parseVersion));
  const chosen = answers.filter((one) => one === "chosen").length;
  return {
    rows: texts.map((text, index) => [text, WORDS[answers[index]]]),
    summary: `${texts.length} 個の版のうち、選ばれるのは ${chosen} 個です。`,
  };
}

/** @param {HTMLElement} box */
export function mount(box) {
  const specifier = field("wl-specifier", "指定（, で区切ると、すべてを満たすもの）", FIRST.specifier);
  const versions = field("wl-versions", "版（空白で区切る）", FIRST.versions);
  const summary = make("p", { role: "status", id: "wl-specifier-summary" });
  const body = make("tbody");
  const head = make("tr", {}, make("th", { scope: "col" }, "版"), make("th", { scope: "col" }, "結果"));
  const table = make("table", { class: "wl-specifier-table" }, make("thead", {}, head), body);

  function show() {
    try {
      const { rows, summary: text } = judge(specifier.input.value, versions.input.value);
      body.replaceChildren(
        ...rows.map(([version, words]) =>
          make("tr", {}, make("th", { scope: "row" }, make("code", {}, version)), make("td", {}, words)),
        ),
      );
      summary.textContent = text;
    } catch (error) {
      if (!(error instanceof Unsupported)) throw error;
      body.replaceChildren();
      summary.textContent = error.message;
    }
    table.hidden = body.childElementCount === 0;
  }

  for (const { input } of [specifier, versions]) input.addEventListener("input", show);
  box.replaceChildren(specifier.row, versions.row, summary, table);
  show();
}
