"""A page with the lab's runtime in headless Chromium, for tests and the benchmark."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright
from serve import serving

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PREFIX = "/some/sub/path/"
PAGE = """<!doctype html>
<meta charset="utf-8"><link rel="icon" href="data:,"><title>lab runtime</title>
<script type="module">
import { Cluster, Connection, Lab } from "./assets/lab/cluster.js";
import { decodeBody } from "./assets/lab/protocol.js";
const lab = new Lab();
const clusters = [];
/** Make a cluster, remember its events, start it; an error comes back as a value. */
async function open(options) {
  const events = [];
  const cluster = new Cluster({ lab, onEvent: (event) => events.push(event), ...options });
  clusters.push(Object.assign(cluster, { events }));
  try {
    await cluster.start();
    return { ok: true, at: clusters.length - 1, capabilities: cluster.capabilities };
  } catch (error) {
    const { code = String(error), detail = String(error.stack) } = error;
    return { ok: false, at: clusters.length - 1, code, detail };
  }
}
const readable = (answer) => ({ ...answer, body: decodeBody(answer.body) });
async function ask(at, method, path, options = {}) {
  const parts = [];
  const onPart = (part) => parts.push(part);
  const settings = { onPart, timeout: 120_000, ...options };
  const answer = await clusters[at].request(method, path, settings);
  return { ...readable(answer), parts: parts.filter(Boolean).length };
}
Object.assign(window, { lab, clusters, open, ask, Connection, Cluster, Lab, decodeBody });
window.loaded = true;
</script>
"""


def example(name):
    """Files, app and experiment of a variant such as ``in_memory_counter/bad``, as options."""
    topic, variant = name.split("/")
    app = f"examples/{topic}/{variant}.py"
    experiment = f"examples/{topic}/experiment.py"
    return {
        "files": {app: (ROOT / app).read_text("utf-8")},
        "app": app[:-3].replace("/", ".") + ":app",
        "experimentFiles": {experiment: (ROOT / experiment).read_text("utf-8")},
        "experiment": experiment[:-3].replace("/", "."),
    }


@contextmanager
def chromium(playwright, **options):
    """A browser with an empty profile; the profile is removed with it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=FLAGS, **options
        )
        try:
            yield context
        finally:
            context.close()


@contextmanager
def lab_browser(*, page=PAGE, gzipped=True):
    """Yield (server, browser context) with the lab's page at the server's URL."""
    pages = {"lab.html": page}
    with (
        serving(ROOT / "docs", prefix=PREFIX, pages=pages, gzipped=gzipped) as server,
        sync_playwright() as playwright,
        chromium(playwright) as context,
    ):
        yield server, context


def open_page(server, context):
    """Open the lab's page in a new tab and wait for its script."""
    page = context.new_page()
    page.set_default_timeout(180_000)
    page.goto(server.url + "lab.html")
    page.wait_for_function("window.loaded")
    return page
