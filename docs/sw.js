// @ts-check
// What was read once can be read again without a network: pages, their parts, the lab's runtime.
//
// The network wins whenever it answers, so no update is held back. Only files with a hash of
// their content in the name are taken from the cache first: they cannot change. Nothing is
// fetched that the reader did not ask for, but for the small files of a lab that was started.
//
// `tools/offline.py` writes a hash of the built site in place of "dev" and the lab's files into
// LAB. A new build is a new worker: it takes over what the last one kept, as far as it still
// exists and in its new form, and deletes the rest.

const worker = /** @type {any} */ (globalThis);
/** @type {string} The address below which the site lies, with a slash at its end. */
const SITE = worker.registration.scope;
const VERSION = "dev";
/** @type {string[]} */
const LAB = [];
const PREFIX = `workerlab ${SITE} `; // other sites may lie on the same host
const CACHE = PREFIX + VERSION;
const OFFLINE = `${SITE}offline.html`;
const RUNTIME = `${SITE}assets/lab/runtime/`;
const NAMED_BY_CONTENT = /[._][0-9a-f]{7,}\.[\w.]+$|\/runtime\/pglite-[\d.]+\//;

/** A file's address: there is one answer, whatever stands behind `?` and `#`. @param {string} url */
const plain = (url) => url.replace(/[?#].*/, "");

/** @param {string} url @param {Response} response */
async function keep(url, response) {
  if (response.status !== 200 || response.redirected) return;
  try {
    await (await caches.open(CACHE)).put(plain(url), response);
  } catch {
    // no room, or the download broke off: the reader has it now, and not later
  }
}

/** @param {string} url @param {string} [name] @returns {Promise<Response | undefined>} */
async function kept(url, name = CACHE) {
  const options = { cacheName: name, ignoreVary: true };
  return caches.match(plain(url), options).catch(() => undefined);
}

/**
 * Fetch and keep what is not kept yet.
 * @param {string[]} urls
 */
async function add(urls) {
  const one = async (/** @type {string} */ url) => {
    if (url.startsWith(SITE) && !(await kept(url))) await keep(url, await fetch(url));
  };
  await Promise.allSettled([...new Set(urls.map(plain))].map(one));
}

/** @param {any} event */
async function answer(event) {
  const { request } = event;
  const old = await kept(request.url);
  if (old && NAMED_BY_CONTENT.test(plain(request.url))) return old;
  try {
    const fresh = await fetch(request);
    if (old && fresh.status >= 500) return old;
    event.waitUntil(keep(request.url, fresh.clone()));
    if (request.url.startsWith(RUNTIME)) event.waitUntil(add(LAB.map((path) => SITE + path)));
    return fresh;
  } catch (error) {
    if (old) return old;
    if (request.mode === "navigate") return offline();
    throw error;
  }
}

/** The page that says that there is no network, with a list of those that can be read. */
async function offline() {
  const page = await kept(OFFLINE);
  if (!page) return Response.error();
  const items = (await readable()).map(([url, title]) => `<li><a href="${url}">${title}</a></li>`);
  const text = (await page.text()).replaceAll('href="./', `href="${SITE}`).replace("<li></li>", items.join(""));
  return new Response(text, { status: 503, headers: page.headers });
}

/** Address and title of every page that is kept, as they stand in its HTML. */
async function readable() {
  const requests = await (await caches.open(CACHE)).keys();
  const pages = requests.map(({ url }) => url).filter((url) => url.endsWith("/"));
  const titles = pages.map(async (url) => {
    const text = (await (await kept(url))?.text()) ?? "";
    return [url, /<title>(.*?)(?: - [^-]*)?<\/title>/s.exec(text)?.[1] ?? url];
  });
  return Promise.all(titles);
}

/** Into this build's cache comes what the last build's held and this one still has. */
async function install() {
  await (await caches.open(CACHE)).add(new Request(OFFLINE, { cache: "no-cache" }));
  for (const name of await others()) {
    const requests = await (await caches.open(name)).keys();
    await Promise.all(requests.map(({ url }) => takeOver(url, name)));
  }
  await worker.skipWaiting();
}

/** @param {string} url @param {string} name of the cache that has it */
async function takeOver(url, name) {
  const same = NAMED_BY_CONTENT.test(url);
  const fresh = await fetch(url, { method: same ? "HEAD" : "GET", cache: "no-cache" });
  if (fresh.status >= 500) throw new Error(`${url}: ${fresh.status}`); // try again another time
  const body = same && fresh.ok ? await kept(url, name) : fresh;
  if (body) await keep(url, body);
}

/** Caches of this site's other builds. */
async function others() {
  return (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
}

async function activate() {
  await Promise.all((await others()).map((name) => caches.delete(name)));
  await worker.clients.claim();
}

/** @param {Request} request */
function ours({ method, headers, url }) {
  return method === "GET" && url.startsWith(SITE) && !headers.has("range");
}

worker.addEventListener("install", (/** @type {any} */ event) => event.waitUntil(install()));
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(activate()));
worker.addEventListener("message", (/** @type {any} */ event) => event.waitUntil(add(event.data)));
worker.addEventListener("fetch", (/** @type {any} */ event) => {
  if (ours(event.request)) event.respondWith(answer(event));
});
