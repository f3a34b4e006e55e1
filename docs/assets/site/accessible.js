// @ts-check
/**
 * What Material leaves open for keyboards and screen readers: wide tables can be scrolled with
 * the keys, and the buttons of code blocks are no landmarks.
 */

const WIDE = { tabindex: "0", role: "group", "aria-label": "表（横に動かせます）" };

/** Give tables that are wider than the page a name and a place in the tab order. */
function nameWideTables() {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap")) {
    const wide = box.scrollWidth > box.clientWidth;
    for (const [name, text] of Object.entries(WIDE)) {
      if (wide) box.setAttribute(name, text);
      else box.removeAttribute(name);
    }
  }
}

/** @param {ParentNode} within */
function demoteCodeButtons(within) {
  for (const nav of within.querySelectorAll("nav.md-code__nav")) {
    const group = document.createElement("div");
    group.className = nav.className;
    group.append(...nav.childNodes);
    nav.replaceWith(group);
  }
}

function start() {
  const content = document.querySelector(".md-content");
  if (!content) return;
  demoteCodeButtons(content);
  new MutationObserver(() => demoteCodeButtons(content)).observe(content, {
    childList: true,
    subtree: true,
  });
  nameWideTables();
  new ResizeObserver(nameWideTables).observe(content);
}

start();
