// @ts-check
// The code field: a plain text field at once, CodeMirror in its place when the reader shows intent.

/**
 * What both fields can do.
 * @typedef {object} Field
 * @property {string} text
 * @property {any} state                       text with its history, to come back to
 * @property {boolean} canUndo
 * @property {(text: string, readOnly: boolean, attributes: Record<string, string>) => void} open
 * @property {(text: string) => void} replace  can be undone
 * @property {() => void} undo
 * @property {(line: number | null) => void} mark
 * @property {() => void} focus
 * @property {() => void} destroy
 */

const VENDOR = new URL("./vendor/", import.meta.url).href;

/** @typedef {{ parent: HTMLElement, attributes: (key: string) => Record<string, string>, onInput: (text: string) => void, onRun: () => void }} Options */

export class Editor {
  /** @type {Field} */
  #field;
  /** @type {Map<string, any>} states of the texts that are not shown */
  #states = new Map();
  #key = "";
  #readOnly = true;
  #rich = false;
  /** @type {Promise<void> | null} */
  #upgrading = null;

  /** @param {Options} options */
  constructor(options) {
    this.options = options;
    this.#field = new PlainField(options);
  }

  get text() {
    return this.#field.text;
  }

  get canUndo() {
    return !this.#readOnly && this.#field.canUndo;
  }

  /** Show a text; its history waits under its key. @param {string} key @param {string} text @param {boolean} readOnly */
  show(key, text, readOnly) {
    if (this.#key) this.#states.set(this.#key, this.#field.state);
    const known = this.#states.get(key);
    this.#key = key;
    this.#readOnly = readOnly;
    this.#field.open(text, readOnly, this.options.attributes(key));
    if (known && textOf(known) === text) this.#field.state = known;
  }

  /** @param {string} text */
  replace(text) {
    this.#field.replace(text);
  }

  undo() {
    if (!this.#readOnly) this.#field.undo();
  }

  /** Point at a line; null: at none. @param {number | null} line */
  mark(line) {
    this.#field.mark(line);
  }

  focus() {
    this.#field.focus();
  }

  /** Put CodeMirror in the place of the text field; where it is missing the text field stays. */
  upgrade() {
    this.#upgrading ??= this.#load().catch(() => {});
    return this.#upgrading;
  }

  destroy() {
    this.#field.destroy();
  }

  async #load() {
    const response = await fetch(`${VENDOR}manifest.json`);
    if (!response.ok) return;
    const { createEditor } = await import(VENDOR + (await response.json()).file);
    const { parent, attributes, onInput, onRun } = this.options;
    const plain = /** @type {PlainField} */ (this.#field);
    const focused = plain.focused;
    const { text } = plain;
    plain.destroy();
    this.#states.clear();
    this.#field = createEditor({ parent, text, readOnly: this.#readOnly, attributes: attributes(this.#key), onInput, onRun });
    if (focused) this.#field.focus();
    this.#rich = true;
  }
}

/** @param {any} state */
const textOf = (state) => state.text ?? state.doc.toString();

/** @implements {Field} */
class PlainField {
  /** @type {string[]} */
  #undo = [];
  #last = "";

  /** @param {Options} options */
  constructor({ parent, onInput, onRun }) {
    const area = (this.area = document.createElement("textarea"));
    area.className = "wl-lab__plain";
    area.spellcheck = false;
    area.autocapitalize = "off";
    area.wrap = "off";
    area.addEventListener("input", () => {
      this.#undo.push(this.#last);
      this.#settle(area.value);
      onInput(area.value);
    });
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        onRun();
      }
    });
    this.onInput = onInput;
    parent.append(area);
  }

  get text() {
    return this.area.value;
  }

  get focused() {
    return document.activeElement === this.area;
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  get state() {
    return { text: this.text, undo: this.#undo };
  }

  set state({ text, undo }) {
    this.#undo = undo;
    this.#settle(text);
  }

  /** @param {string} text @param {boolean} readOnly @param {Record<string, string>} attributes */
  open(text, readOnly, attributes) {
    for (const [name, value] of Object.entries(attributes)) this.area.setAttribute(name, value);
    this.area.readOnly = readOnly;
    this.state = { text, undo: [] };
  }

  /** @param {string} text */
  replace(text) {
    this.#undo.push(this.text);
    this.#settle(text);
    this.onInput(text);
  }

  undo() {
    const text = this.#undo.pop();
    if (text === undefined) return;
    this.#settle(text);
    this.onInput(text);
  }

  /** @param {number | null} line */
  mark(line) {
    if (!line) return;
    const before = this.text.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    this.area.setSelectionRange(before, before + (this.text.split("\n")[line - 1] ?? "").length);
  }

  focus() {
    this.area.focus();
  }

  destroy() {
    this.area.remove();
  }

  /** @param {string} text */
  #settle(text) {
    if (this.area.value !== text) this.area.value = text;
    this.area.rows = text.split("\n").length;
    this.#last = text;
  }
}
