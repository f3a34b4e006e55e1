// @ts-check
/**
 * Registers the service worker (`sw.js`) when the page has loaded, and tells it what the page
 * consists of: on a first visit that was fetched before the worker was there.
 *
 * Not on this machine's own addresses: there is no network to lose, and the worker would stay
 * and answer for whatever else is served on that port some day.
 */

const SCRIPT = new URL("../../sw.js", import.meta.url);
const OWN_MACHINE = /^(localhost|.+\.localhost|127\..+|\[::1\])$/;

async function tell() {
  const { active } = await navigator.serviceWorker.ready;
  const parts = performance.getEntriesByType("resource").map(({ name }) => name);
  active?.postMessage([location.href, ...parts]);
}

async function start() {
  try {
    navigator.serviceWorker.addEventListener("controllerchange", tell);
    await navigator.serviceWorker.register(SCRIPT);
    await tell();
  } catch {
    // a browser that keeps nothing: the site works, online
  }
}

if ("serviceWorker" in navigator && !OWN_MACHINE.test(location.hostname)) {
  if (document.readyState === "complete") start();
  else addEventListener("load", start, { once: true });
}
