// @ts-check
// Google's Lighthouse on pages of each type of the built site: accessibility, best practices and
// search engines, 100 of 100 each. Not its speed: that depends on the machine.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const cache = createRequire(`${process.cwd()}/.cache/lighthouse/package.json`);
/** @param {string} name */
const load = (name) => import(pathToFileURL(cache.resolve(name)).href);
const { default: lighthouse } = await load("lighthouse");
const { launch } = await load("chrome-launcher");

const PAGES = ["", "shared-state/in_memory_counter/", "paths/", "solutions/choose_a_store/"];
const CATEGORIES = ["accessibility", "best-practices", "seo"];
const CHROMIUM = {
  chromePath: process.env.CHROME_PATH ?? "/usr/bin/chromium",
  chromeFlags: ["--headless=new", "--no-sandbox", "--disable-gpu"],
};

/** @returns {Promise<{ url: string, stop: () => void }>} */
function serve() {
  const server = spawn(".venv/bin/python", ["-m", "workerlab", "serve", "--port", "0"], { stdio: ["ignore", "pipe", "inherit"] });
  return new Promise((resolve, reject) => {
    server.on("exit", (code) => reject(new Error(`workerlab serve: ${code}`)));
    server.stdout.on("data", (text) => {
      const url = /http:\/\/[\d.:]+\//.exec(String(text))?.[0];
      if (url) resolve({ url, stop: () => server.kill() });
    });
  });
}

/** What a page lost points for. @param {any} report @param {any} category */
function faults({ audits }, { auditRefs }) {
  return auditRefs
    .filter((/** @type {any} */ { id, weight }) => weight > 0 && audits[id].score !== null && audits[id].score < 1)
    .map((/** @type {any} */ { id }) => `    ${id}: ${audits[id].title}\n${JSON.stringify(audits[id].details?.items ?? [], null, 1).slice(0, 800)}`);
}

const { url, stop } = await serve();
const chrome = await launch(CHROMIUM);
let lost = 0;
try {
  for (const page of PAGES) {
    const { lhr } = await lighthouse(url + page, { port: chrome.port, onlyCategories: CATEGORIES, logLevel: "error", maxWaitForLoad: 240_000 });
    if (lhr.runtimeError) throw new Error(lhr.runtimeError.message);
    for (const name of CATEGORIES) {
      const category = lhr.categories[name];
      console.log(`${String(Math.round(category.score * 100)).padStart(3)}  ${name.padEnd(15)} /${page}`);
      if (category.score === 1) continue;
      lost += 1;
      console.log(faults(lhr, category).join("\n"));
    }
  }
} finally {
  chrome.kill();
  stop();
}
process.exitCode = lost ? 1 : 0;
