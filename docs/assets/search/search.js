// @ts-check
/**
 * Search: a button in the header, and Pagefind's own dialog behind it.
 *
 * Nothing of Pagefind is loaded before the reader asks for it. Its files and the index are made
 * from the built pages by `make site` and lie in `index/`; `ja/` words the queries.
 */

const INDEX = new URL("./index/", import.meta.url);
const SEARCH = new URL("./ja/", import.meta.url);
const SITE = new URL("../../", import.meta.url);
const ICON =
  '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M9.5 3A6.5 6.5 0 0 1 16 9.5c0 1.61-.59 ' +
  "3.09-1.56 4.23l.27.27h.79l5 5-1.5 1.5-5-5v-.79l-.27-.27A6.52 6.52 0 0 1 9.5 16a6.5 6.5 0 0 1 " +
  '0-13m0 2C7 5 5 7 5 9.5S7 14 9.5 14 14 12 14 9.5 12 5 9.5 5"/></svg>';

/** @type {Promise<HTMLElement & {open(): void}> | undefined} */
let dialog;

/**
 * Load the dialog once; a failure is told on the button and can be tried again.
 * @returns {Promise<HTMLElement & {open(): void}>}
 */
function load() {
  dialog ??= build().catch((error) => {
    dialog = undefined;
    throw error;
  });
  return dialog;
}

/** @returns {Promise<any>} */
async function build() {
  await Promise.all([addStyles(new URL("pagefind-component-ui.css", INDEX)), importDialog()]);
  const config = document.createElement("pagefind-config");
  config.setAttribute("bundle-path", SEARCH.pathname);
  config.setAttribute("base-url", SITE.pathname);
  config.setAttribute("lang", "ja");
  const modal = document.createElement("pagefind-modal");
  document.body.append(config, modal);
  return modal;
}

/** @returns {Promise<unknown>} */
function importDialog() {
  return import(new URL("pagefind-component-ui.js", INDEX).href);
}

/**
 * @param {URL} url
 * @returns {Promise<void>}
 */
function addStyles(url) {
  return new Promise((resolve, reject) => {
    const link = document.createElement("link");
    Object.assign(link, { rel: "stylesheet", href: url.href });
    link.onload = () => resolve();
    link.onerror = () => reject(new Error(url.href));
    // Before our own styles, so that those have the last word.
    document.head.prepend(link);
  });
}

/** @param {HTMLButtonElement} button */
async function open(button) {
  button.setAttribute("aria-busy", "true");
  try {
    (await load()).open();
    button.title = "検索（/ または Ctrl+K）";
  } catch {
    button.title = "検索を読み込めませんでした。もう一度押してください。";
  }
  button.removeAttribute("aria-busy");
}

/**
 * Whether a key press means "search": `/` outside of text fields, Ctrl+K or ⌘K anywhere.
 * @param {KeyboardEvent} event
 */
function asks(event) {
  if (event.isComposing || event.altKey) return false;
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey) return event.key === "k";
  const target = /** @type {HTMLElement} */ (event.composedPath()[0]);
  const writing = target.isContentEditable || target.matches?.("input, textarea, select");
  return event.key === "/" && !event.ctrlKey && !event.metaKey && !writing;
}

function start() {
  const header = document.querySelector(".md-header__inner");
  if (!header) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "md-header__button md-icon wl-search";
  button.title = "検索（/ または Ctrl+K）";
  button.setAttribute("aria-label", "検索");
  button.setAttribute("aria-keyshortcuts", "/ Control+K");
  button.innerHTML = `${ICON}<span class="wl-search__label">検索</span>`;
  button.addEventListener("click", () => open(button));
  button.addEventListener("pointerenter", () => load().catch(() => {}), { once: true });
  header.append(button);
  document.addEventListener("keydown", (event) => {
    if (!asks(event) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    open(button);
  });
}

start();
