// @ts-check
/**
 * The explanation of a word of the glossary, beside the word: for a mouse, the keyboard and a
 * finger alike (WCAG 1.4.13). The words are links with their explanation as `title`, made at
 * build; without this script, the browser shows that to a mouse only.
 *
 * It stays while the pointer is on the word or on the explanation, or the word has the focus; Esc
 * closes it. A finger opens it with the first tap and follows the link with the second.
 */

const LINGER = 250; // milliseconds to move the pointer from the word to the explanation
const GAP = 6;

const box = document.createElement("div");
box.id = "wl-term-tip";
box.className = "wl-term-tip";
box.role = "tooltip";
box.popover = "manual";
const name = document.createElement("strong");
const text = document.createElement("span");
box.append(name, text);

/** @type {HTMLAnchorElement | undefined} The word that is explained now. */
let word;
let leaving = 0;
let touched = false;

/** @param {EventTarget | null} target @returns {HTMLAnchorElement | null} */
const termOf = (target) => (target instanceof Element ? target.closest("a.wl-term") : null);

/** @param {HTMLAnchorElement} term */
function show(term) {
  clearTimeout(leaving);
  if (term === word) return;
  hide();
  word = term;
  const explained = term.title || (term.dataset.explained ?? "");
  const end = explained.indexOf("：");
  term.dataset.explained = explained;
  term.removeAttribute("title"); // else the browser would show it, too
  name.textContent = explained.slice(0, end);
  text.textContent = explained.slice(end + 1);
  term.setAttribute("aria-describedby", box.id);
  box.showPopover();
  place(term);
}

/** Below the word, or above it where there is no room. @param {HTMLAnchorElement} term */
function place(term) {
  const lines = [...term.getClientRects()];
  const { width, height } = box.getBoundingClientRect();
  const screen = document.documentElement;
  const first = lines[0];
  const last = lines[lines.length - 1];
  const below = last.bottom + GAP + height <= screen.clientHeight;
  const top = below ? last.bottom + GAP : first.top - GAP - height;
  const left = Math.min((below ? last : first).left, screen.clientWidth - width - 8);
  box.style.top = `${Math.max(top, GAP - scrollY) + scrollY}px`;
  box.style.left = `${Math.max(left, 8) + scrollX}px`;
}

function hide() {
  clearTimeout(leaving);
  if (!word) return;
  word.removeAttribute("aria-describedby");
  word.title = word.dataset.explained ?? "";
  word = undefined;
  box.hidePopover();
}

function hideSoon() {
  clearTimeout(leaving);
  leaving = setTimeout(() => {
    if (word && !word.matches(":hover, :focus-visible") && !box.matches(":hover")) hide();
  }, LINGER);
}

/** Esc: the pointer is still on the word, so the browser must not show its own. */
function dismiss() {
  const term = word;
  hide();
  if (!term?.matches(":hover")) return;
  term.removeAttribute("title");
  term.addEventListener("pointerleave", () => (term.title = term.dataset.explained ?? ""), { once: true });
}

/** @param {PointerEvent} event */
function over({ target, pointerType }) {
  if (pointerType === "touch") return;
  const term = termOf(target);
  if (term?.title) show(term);
  else if (box.contains(/** @type {Node} */ (target)) || term === word) clearTimeout(leaving);
  else if (word) hideSoon();
}

/** @param {MouseEvent} event */
function click(event) {
  const term = termOf(event.target);
  if (term && touched && term !== word) {
    event.preventDefault();
    show(term);
  }
}

/** @param {PointerEvent} event */
function press({ target, pointerType }) {
  touched = pointerType === "touch";
  if (touched && !termOf(target) && !box.contains(/** @type {Node} */ (target))) hide();
}

/** @param {FocusEvent} event */
function focus({ target }) {
  const term = termOf(target);
  if (term?.matches(":focus-visible")) show(term);
  else if (word && !touched) hideSoon();
}

/** @param {HTMLElement} article */
export function mount(article) {
  if (!box.showPopover || box.isConnected) return;
  (article.parentElement ?? article).append(box);
  new ResizeObserver(() => word && place(word)).observe(article); // a lab above it has grown
  document.addEventListener("pointerover", over);
  document.addEventListener("pointerdown", press);
  document.addEventListener("click", click);
  document.addEventListener("focusin", focus);
  document.addEventListener("focusout", () => word && !touched && hideSoon());
  document.addEventListener("keydown", ({ key }) => key === "Escape" && dismiss());
  document.documentElement.addEventListener("pointerleave", hideSoon);
}
