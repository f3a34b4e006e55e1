"""What was read once can be read again when the network is gone, on a host with a name."""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lab_site import CHROMIUM, FLAGS, LESSON, PREFIX, Reader
from playwright.sync_api import Browser, Page, expect

from helpers import wait_until
from tools.offline import VERSION_LINE
from workerlab.catalog import ROOT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),  # a busy machine takes long to start browsers and workers
]
HOST = "workerlab.test"
"""Loopback to Chromium's resolver; the service worker is for hosts that can be out of reach."""
AXE = ROOT / ".cache" / "editor" / "node_modules" / "axe-core" / "axe.min.js"
KEPT = """async () => {
  const found = {};
  for (const name of await caches.keys()) {
    const requests = await (await caches.open(name)).keys();
    found[name.split(" ").at(-1)] = requests.map(({url}) => new URL(url).pathname);
  }
  return found;
}"""
RUNTIME = f"{PREFIX}assets/lab/runtime/"


class Handler(http.server.SimpleHTTPRequestHandler):
    """The site below `PREFIX`; ``failing`` makes it a server that answers with 503 only."""

    failing = False

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.replace(PREFIX, "/", 1))

    def send_head(self) -> Any:
        if self.failing:
            self.send_error(503)
            return None
        if not self.path.startswith(PREFIX):
            self.send_error(404)  # the host's root is somebody else's
            return None
        return super().send_head()

    def log_message(self, *args: object) -> None:
        pass


class Online:
    """A folder that is served until `stop`."""

    def __init__(self, folder: Path) -> None:
        self.handler = type("Handler", (Handler,), {})
        serve = functools.partial(self.handler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()
        self.origin = f"http://{HOST}:{self.server.server_address[1]}"

    def stop(self) -> None:
        """No network any more; may be called twice."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@contextmanager
def reading(browser: Browser, folder: Path) -> Iterator[tuple[Reader, Online]]:
    """Somebody who reads what *folder* holds, over what the browser takes for HTTPS."""
    online = Online(folder)
    trust = f"--unsafely-treat-insecure-origin-as-secure={online.origin}"
    names = f"--host-resolver-rules=MAP {HOST} 127.0.0.1"
    trusting = browser.browser_type.launch(
        executable_path=str(CHROMIUM), args=[*FLAGS, trust, names]
    )
    try:
        yield Reader(trusting, online.origin + PREFIX), online
    finally:
        trusting.close()
        online.stop()


def kept(page: Page) -> dict[str, list[str]]:
    """Paths in the browser's caches, by version of the site."""
    found: dict[str, list[str]] = page.evaluate(KEPT)
    return found


def all_kept(page: Page) -> set[str]:
    return {path for paths in kept(page).values() for path in paths}


def wait_for_kept(page: Page, *paths: str) -> None:
    """Until the browser keeps all of *paths*."""
    wait_until(
        lambda: {PREFIX + path for path in paths} <= all_kept(page), f"{paths} kept", 240
    )


def readable_offline(page: Page) -> list[str]:
    """The titles on the offline page, after it was looked at with axe."""
    expect(page.get_by_role("heading", name="ネットワークがありません")).to_be_visible()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.evaluate("axe.run()")["violations"] == []
    return page.get_by_role("listitem").all_inner_texts()


def test_page_and_lab_of_yesterday_work_without_network(browser: Browser) -> None:
    """Read, run once, searched once; then the server is gone, and all of it works again.

    A page that was never open is told from those; the runtime is not kept before the lab runs.
    """
    with reading(browser, ROOT / "site") as (reader, online):
        page = reader.page
        lab = reader.open().choose("good.py", workers=2)
        wait_for_kept(page, LESSON, "assets/stylesheets/extra.css", "assets/lab/worker-lab.js")
        assert not [path for path in all_kept(page) if path.startswith(RUNTIME)]
        assert lab.run() == "holds"
        search(page)
        page.keyboard.press("Escape")
        wait_for_kept(page, "assets/lab/diff-view.js", "assets/lab/vendor/manifest.json")
        wait_until(lambda: enough_for_a_run(page), "the runtime kept", 240)

        online.stop()
        page.reload()
        assert page.evaluate("getComputedStyle(document.querySelector('.md-grid')).maxWidth")
        assert reader.lab().choose("good.py", workers=2).run() == "holds"
        search(page)
        page.goto(f"{reader.url}concurrency/oversell/")
        assert readable_offline(page) == ["メモリの中のカウンター"]
        page.get_by_role("link", name="メモリの中のカウンター").click()
        page.wait_for_url(f"**/{LESSON}")
        expect(page.locator("h1")).to_contain_text("1000")
        assert reader.errors == []


def search(page: Page) -> None:
    """Look for something in the search dialog, and see it."""
    page.keyboard.press("/")
    page.locator("dialog[open] input").fill("接続プール")
    expect(page.locator("dialog[open] mark").first).to_be_visible()


def enough_for_a_run(page: Page) -> bool:
    """Whether every file of the runtime that the page asked for is kept."""
    roles = {path.removeprefix(RUNTIME).split(".")[0] for path in all_kept(page)}
    return {"manifest", "pyodide", "pydantic-core", "snapshot-base", "engine"} <= roles


PAGE = """<!doctype html>
<html lang="ja">
<head><meta charset="utf-8"><title>{title} - x</title>
<link rel="stylesheet" href="{root}style.{style}.css">
<script type="module" src="{root}assets/site/offline.js"></script></head>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""


def deploy(folder: Path, version: str, style: str, **pages: str) -> None:
    """Put a small site with our service worker into *folder*: a build of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "assets" / "site").mkdir(parents=True)
    for name in ("offline.html", "assets/site/offline.js"):
        shutil.copy(ROOT / "docs" / name, folder / name)
    worker = (ROOT / "docs" / "sw.js").read_text(encoding="utf-8")
    (folder / "sw.js").write_text(worker.replace(VERSION_LINE, f'const VERSION = "{version}";'))
    for style_name in ("0123abc", style):
        (folder / f"style.{style_name}.css").write_text("p { color: green; }")
    for name, text in pages.items():
        path = folder / ("index.html" if name == "home" else f"{name}/index.html")
        path.parent.mkdir(exist_ok=True)
        root = "./" if name == "home" else "../"
        path.write_text(PAGE.format(title=name, text=text, root=root, style=style), "utf-8")


def test_new_deploy_renews_what_is_kept(browser: Browser, tmp_path: Path) -> None:
    """The first page after a deploy is the new one; soon those read before are, too.

    What the new build no longer has is deleted, with the old cache. A server that answers
    with 503 in between takes nothing away.
    """
    folder = tmp_path / "site"
    deploy(folder, "first", "aaaaaaa", home="home 1", one="one 1", gone="gone 1")
    with reading(browser, folder) as (reader, online):
        page, text = reader.page, reader.page.locator("p")
        for name in ("", "one/", "gone/"):
            page.goto(reader.url + name)
            wait_for_kept(page, name)
        wait_for_kept(page, "style.aaaaaaa.css")
        assert list(kept(page)) == ["first"]

        online.handler.failing = True
        page.goto(f"{reader.url}one/")
        expect(text).to_have_text("one 1")
        deploy(folder, "second", "bbbbbbb", home="home 2", one="one 2")
        for path in folder.rglob("*"):  # HTTP tells two builds of one second not apart
            os.utime(path, (path.stat().st_mtime + 10,) * 2)
        online.handler.failing = False
        page.goto(reader.url)
        expect(text).to_have_text("home 2")
        wait_until(lambda: list(kept(page)) == ["second"], "the old cache deleted", 240)
        wait_for_kept(page, "", "one/", "style.bbbbbbb.css")
        assert not {PREFIX + name for name in ("gone/", "style.aaaaaaa.css")} & all_kept(page)

        online.stop()
        page.goto(f"{reader.url}one/")
        expect(text).to_have_text("one 2")
        page.goto(f"{reader.url}gone/?from=mail")
        assert set(readable_offline(page)) == {"home", "one"}


def test_own_machine_gets_no_service_worker(browser: Browser, site: str) -> None:
    """``make serve`` leaves nothing behind that would answer for other programs' ports."""
    page = browser.new_page()
    page.goto(site)
    page.wait_for_load_state("networkidle")
    registrations = "navigator.serviceWorker.getRegistrations().then((all) => all.length)"
    assert page.evaluate(registrations) == 0
    page.close()
