// @ts-check
/**
 * A check box before each item of a list, remembered by this browser only.
 *
 * The key of an item is its statement: when the words change, it has to be checked again.
 */

import { load, save } from "./remembered.js";

const KEY = "wl-checklist";

/**
 * The statement becomes the label of a new check box.
 * @param {HTMLElement} statement
 * @returns {HTMLInputElement}
 */
function addBox(statement) {
  const box = document.createElement("input");
  box.type = "checkbox";
  const label = document.createElement("label");
  statement.replaceWith(label);
  label.append(box, statement);
  return box;
}

/** @param {HTMLElement} list */
export function mount(list) {
  const done = load(KEY);
  /** @type {Map<string, HTMLInputElement>} */
  const boxes = new Map();
  for (const statement of list.querySelectorAll("li > strong:first-child, li > p > strong:first-child")) {
    if (!(statement instanceof HTMLElement)) continue;
    boxes.set(statement.textContent ?? "", addBox(statement));
    statement.closest("ul")?.classList.add("wl-checks");
  }

  const status = document.createElement("p");
  status.role = "status";
  const clear = document.createElement("button");
  clear.type = "button";
  clear.className = "md-button wl-button";
  clear.textContent = "印をすべて外す";
  const bar = document.createElement("div");
  bar.className = "wl-checks-bar";
  bar.append(status, clear);
  list.prepend(bar);

  function show() {
    let checked = 0;
    for (const [statement, box] of boxes) {
      box.checked = done.has(statement);
      checked += Number(box.checked);
    }
    status.textContent = `${boxes.size} 項目のうち ${checked} 項目を確かめました。`;
    clear.disabled = checked === 0;
  }

  for (const [statement, box] of boxes) {
    box.addEventListener("change", () => {
      if (box.checked) done.add(statement);
      else done.delete(statement);
      save(KEY, done);
      show();
    });
  }
  clear.addEventListener("click", () => {
    done.clear();
    save(KEY, done);
    show();
  });
  show();
}
