"""The site with its labs, built for a test and opened in headless Chromium."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.utils.yaml import yaml_load
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Route,
    TimeoutError,
    expect,
    sync_playwright,
)

from helpers import wait_until
from workerlab.catalog import ROOT

expect.set_options(timeout=240_000)  # milliseconds; a busy machine takes long to start workers

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TOPIC = "in_memory_counter"
LESSON = f"shared-state/{TOPIC}/"
LABS = {
    found[1]: page.relative_to(ROOT / "docs")
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if (found := re.search(r'<worker-lab topic="(\w+)">', page.read_text(encoding="utf-8")))
}
"""The pages with a lab, by topic."""
PAGES = (*map(str, LABS.values()), "glossary.md")
TWO_LABS = "two-labs/"
ELEMENT = f'<worker-lab topic="{TOPIC}"></worker-lab>'
BOX = f'<div class="wl-lab" markdown="0">{ELEMENT}</div>'
PREFIX = "/sub/path/"
"""The site is served below a path, as on any project page."""


def build_site(folder: Path, url: str, *, instant: bool = False) -> None:
    """Build some pages of the site, and one with two labs, into ``folder/site``.

    Args:
        url: Where it will be served; instant navigation compares it with the sitemap.
    """
    docs = folder / "docs"
    shutil.copytree(
        ROOT / "docs" / "assets", docs / "assets", ignore=shutil.ignore_patterns("pglite*")
    )
    for page in PAGES:
        (docs / page).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "docs" / page, docs / page)
    (docs / "two-labs.md").write_text(f"# Two labs\n\n{BOX}\n\n## Again\n\n{BOX}\n")
    lesson = docs / "shared-state" / f"{TOPIC}.md"
    text = lesson.read_text(encoding="utf-8")
    if "<worker-lab" not in text:
        mark = "!!! warning"
        lesson.write_text(text.replace(mark, f"{BOX}\n\n{mark}", 1), encoding="utf-8")
    config = yaml_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    del config["nav"]
    config["docs_dir"], config["site_dir"] = str(docs), str(folder / "site")
    config["site_url"] = url
    config["extra_javascript"] = [{"path": "assets/lab/main.js", "type": "module"}]
    config["extra_css"] = [
        *(css for css in config["extra_css"] if css != "assets/lab/lab.css"),
        "assets/lab/lab.css",
    ]
    if instant:
        config["theme"]["features"].append("navigation.instant")
    (folder / "mkdocs.yml").write_text(json.dumps(config, ensure_ascii=False))
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "-f", folder / "mkdocs.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # 5 by default: a page with its modules asks for more at once


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def translate_path(self, path: str) -> str:
        return super().translate_path(path.replace(PREFIX, "/", 1))

    def send_head(self) -> Any:
        if self.path.startswith(PREFIX):
            return super().send_head()
        self.send_error(404)  # the host's root is somebody else's
        return None

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve *folder* below `PREFIX` without special headers; yields its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}{PREFIX}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Reader:
    """Somebody with a fresh profile who reads the site; keeps what the browser asked for."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        settings = {"viewport": {"width": 1280, "height": 900}, "locale": "ja-JP", **options}
        self.url = url
        self.context: BrowserContext = browser.new_context(**settings)
        self.context.set_default_timeout(240_000)
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.unanswered: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("request", lambda request: self.unanswered.append(request.url))
        for end in ("requestfinished", "requestfailed"):
            self.page.on(end, lambda request: self._answered(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, path: str = LESSON) -> Lab:
        """Go to a page and scroll to its first lab."""
        self.page.goto(self.url + path)
        return self.lab()

    def lab(self, number: int = 0) -> Lab:
        """A lab of the page that is open, scrolled to and filled."""
        host = self.page.locator("worker-lab").nth(number)
        host.evaluate("element => element.scrollIntoView()")
        lab = Lab(self.page, host)
        try:
            lab.frame.wait_for()
        except TimeoutError as error:
            shown = host.inner_html()
            raise AssertionError(f"no lab: {self.unanswered=} {shown=}") from error
        return lab

    def _answered(self, url: str) -> None:
        if url in self.unanswered:
            self.unanswered.remove(url)

    def workers(self) -> int:
        """How many Web Workers the labs of the page have (its search has one too)."""
        return sum("/assets/lab/" in worker.url for worker in self.page.workers)

    def wait_for_no_workers(self) -> None:
        """Every worker is gone."""
        self.wait_until(lambda: self.workers() == 0, "all workers gone")

    def wait_until(self, look: Any, what: str, timeout: float = 240.0) -> Any:
        """As `helpers.wait_until`, with the browser's events coming in."""

        def looked() -> Any:
            self.page.evaluate("0")  # lets Playwright take in what happened
            return look()

        return wait_until(looked, what, timeout)

    def close(self) -> None:
        """Close the profile; nothing came from another host and no script failed."""
        self.context.close()
        assert self.errors == []
        own = (self.url, "blob:", "data:", "about:")
        foreign = [url for url in self.requests if not url.startswith(own)]
        assert foreign == []


@contextlib.contextmanager
def reading(browser: Browser, url: str, **options: Any) -> Iterator[Reader]:
    """A `Reader`, closed and checked when the block ends."""
    reader = Reader(browser, url, **options)
    try:
        yield reader
    except BaseException:
        reader.context.close()
        raise
    reader.close()


class Lab:
    """One lab on a page, as a reader sees it."""

    def __init__(self, page: Page, host: Locator) -> None:
        self.page, self.host = page, host
        self.frame = host.locator(".wl-lab__frame")
        self.lanes = host.get_by_role("list", name="ワーカーごとの応答").get_by_role("listitem")
        self.verdict = host.locator(".wl-lab__verdict")
        self.problem = host.locator(".wl-lab__problem")
        self.status = host.locator(".wl-lab__status")
        self.notice = host.locator(".wl-lab__notice")
        self.spoken = host.get_by_role("status")

    def button(self, name: str) -> Locator:
        """A button by its whole name."""
        return self.host.get_by_role("button", name=name, exact=True)

    def choose(self, tab: str, *, workers: int | None = None) -> Lab:
        """Choose a version, and how many workers shall run it."""
        self.host.get_by_role("tab", name=tab).click()
        if workers is not None:
            self.host.get_by_label("ワーカーの数").select_option(str(workers))
        return self

    def type(self, code: str) -> Lab:
        """Put *code* into あなたの版."""
        self.choose("あなたの版")
        editor = self.host.locator(".cm-content")
        self.host.locator(".wl-lab__code").hover()
        editor.click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(code)
        return self

    def code(self) -> str:
        """What the code field shows, whichever of the two it is at this moment."""
        text: str = self.frame.evaluate(
            """frame => frame.querySelector("textarea")?.value
              ?? Array.from(frame.querySelectorAll(".cm-line"), (e) => e.textContent)
                .join("\\n")"""
        )
        return text.rstrip("\n")

    def start(self) -> Lab:
        """Press 実行, and wait until the first answers are there."""
        self.button("実行").click()
        self.status.get_by_text("に応答").wait_for()
        return self

    def play(self, drill: str) -> Lab:
        """Choose a drill by its title ("": the page's own experiment)."""
        choice = self.host.get_by_label("実験", exact=True)
        if drill:
            choice.select_option(label=drill)
        else:
            choice.select_option(value="")
        return self

    def run(self) -> str:
        """Press 実行 and wait for the verdict; returns its kind."""
        self.button("実行").click()
        self.verdict.wait_for()
        return self.verdict.get_attribute("data-kind") or ""

    def observed(self) -> dict[str, str]:
        """The column 今回 by the column 不変条件."""
        rows = self.host.get_by_role("table").locator("tbody tr").all()
        return {
            (row.locator("th").evaluate("th => th.firstChild.data")): row.locator(
                "td"
            ).last.inner_text()
            for row in rows
        }


def lesson(topic: str = TOPIC) -> dict[str, Any]:
    """What the page's lab is given before a run."""
    path = ROOT / "docs" / "assets" / "lab" / "topics" / f"{topic}.json"
    given: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return given


def zipped(path: Path) -> int:
    """Bytes of a file over the wire with gzip."""
    return len(gzip.compress(path.read_bytes(), 9))


def without_jspi(context: BrowserContext) -> None:
    """Take JSPI from every worker, as a browser without it."""

    def strip(route: Route) -> None:
        response = route.fetch()
        strip_it = "delete WebAssembly.Suspending; delete WebAssembly.promising;\n"
        route.fulfill(response=response, body=strip_it + response.text())

    context.route("**/assets/lab/*worker.js", strip)
