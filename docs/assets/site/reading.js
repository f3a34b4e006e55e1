// @ts-check
/**
 * 「読んだ」: a mark that the reader puts on a page, remembered by this browser only. The pages
 * that lead to others show which of those have it.
 */

import { load, save } from "./remembered.js";

const KEY = "wl-read";
const SITE = new URL("../../", import.meta.url);
/** Pages that show the marks of others, and have none themselves. */
const OVERVIEWS = ["", "paths/"];
const NOTE = "印は、このブラウザーにだけ残ります。";

/** A page's address below the site's own. @param {{ pathname: string }} url */
const place = ({ pathname }) => pathname.replace(SITE.pathname, "").replace(/index\.html$/, "");

/**
 * A line at the end of the article: a button, and what it is about.
 * @param {HTMLElement} article
 * @param {string} label
 */
function addLine(article, label) {
  const line = document.createElement("div");
  line.className = "wl-reading";
  const button = document.createElement("button");
  button.type = "button";
  button.className = "md-button wl-button";
  button.textContent = label;
  const note = document.createElement("span");
  line.append(button, note);
  article.append(line);
  return { line, button, note };
}

/** @param {HTMLElement} article @param {string} here */
function offerMark(article, here) {
  const { button, note } = addLine(article, "読んだ");
  const show = () => button.setAttribute("aria-pressed", String(load(KEY).has(here)));
  button.addEventListener("click", () => {
    const read = load(KEY); // another tab may have added some
    if (!read.delete(here)) read.add(here);
    save(KEY, read);
    button.setAttribute("aria-pressed", String(read.has(here)));
  });
  note.textContent = NOTE;
  show();
  addEventListener("pageshow", show);
}

/** @param {HTMLElement} article */
function showMarks(article) {
  const { line, button, note } = addLine(article, "印をすべて外す");
  note.role = "status";
  const items = [...article.querySelectorAll("li")].flatMap((item) => {
    const link = item.querySelector("a:not(.headerlink, .wl-term)");
    return link instanceof HTMLAnchorElement ? [{ item, page: place(link) }] : [];
  });
  function show() {
    const read = load(KEY);
    for (const { item, page } of items) mark(item, read.has(page));
    const here = new Set(items.map(({ page }) => page).filter((page) => read.has(page)));
    note.textContent = `ここから読んだページ：${here.size}。${NOTE}`;
    line.hidden = here.size === 0;
  }
  button.addEventListener("click", () => {
    save(KEY, new Set());
    show();
  });
  show();
  addEventListener("pageshow", show);
}

/** Without moving anything: the sign stands in the marker, the words are for screen readers. @param {Element} item @param {boolean} read */
function mark(item, read) {
  item.classList.toggle("wl-read", read);
  const said = item.querySelector(".wl-read__said");
  if (said && !read) said.remove();
  if (said || !read) return;
  const words = document.createElement("span");
  words.className = "wl-read__said";
  words.textContent = "（読んだページ）";
  item.append(words);
}

/** @param {HTMLElement} article */
export function mount(article) {
  const here = place(location);
  if (OVERVIEWS.includes(here)) showMarks(article);
  else if (article.querySelector("h2")) offerMark(article, here);
}
