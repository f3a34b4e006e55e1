// @ts-check
/**
 * Mounts the interactive parts that a page has. Every page loads this file, so it holds nothing
 * else; what a part needs is loaded where the part stands. Without JavaScript the text remains.
 */

/** @type {Record<string, () => Promise<{mount: (element: HTMLElement) => void}>>} */
const PARTS = {
  ".wl-cell": () => import("../cells/cells.js"),
  ".wl-checklist": () => import("./checklist.js"),
  ".wl-specifiers": () => import("./specifier-box.js"),
  "article:has(.wl-term)": () => import("./terms.js"),
  "article.md-content__inner": () => import("./reading.js"),
};

for (const [selector, load] of Object.entries(PARTS)) {
  for (const element of document.querySelectorAll(selector)) {
    if (element instanceof HTMLElement) load().then(({ mount }) => mount(element));
  }
}
