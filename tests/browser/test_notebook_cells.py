"""Cells that run in the notebook's page: nothing before the press, then real workers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from helpers import wait_until
from workerlab.catalog import ROOT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),  # a busy machine takes long to start browsers and workers
    pytest.mark.skipif(
        not (ROOT / "docs/assets/lab/runtime/manifest.json").exists(), reason="needs make lab"
    ),
]
PATIENCE = 240_000
"""Milliseconds for a cell, also on a busy machine."""
expect.set_options(timeout=PATIENCE)
AXE = ROOT / ".cache" / "editor" / "node_modules" / "axe-core" / "axe.min.js"


class Notebook:
    """A notebook's page, as a reader sees it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda m: self.complaints.append(m.text) if m.type == "error" else None,
        )
        page.goto(url)
        self.button(1).wait_for()

    def button(self, number: int, action: str = "を実行") -> Locator:
        """The button of a cell by the number that stands above its code."""
        return self.page.get_by_role("button", name=f"セル {number} {action}", exact=True)

    def cell(self, number: int) -> Locator:
        """The line below a cell's code."""
        named = re.compile(rf"^セル {number} を")
        return self.page.locator(".wl-cell", has=self.page.get_by_role("button", name=named))

    def run(self, number: int, status: str = "動かし終えました") -> str:
        """Press 実行 and wait; returns the text of the output that is shown then."""
        self.button(number).click()
        shown = self.cell(number).locator(".wl-cell__status")
        expect(shown).to_contain_text(re.compile("動かし終えました|止ま"))
        assert status in shown.inner_text(), self.page.locator(
            ".wl-cell__error"
        ).all_inner_texts()
        own = self.own(number)
        return own.inner_text() if own.is_visible() else ""

    def own(self, number: int) -> Locator:
        """The output of this page."""
        after = "xpath=following-sibling::*[contains(@class, 'wl-output--own')][1]"
        return self.cell(number).locator(after)

    def recorded(self, number: int) -> Locator:
        """The recorded output, which stands directly below."""
        return self.cell(number).locator("xpath=following-sibling::*[1]")


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Any]:
    contexts = []
    visits: list[Notebook] = []

    def open_page(name: str, change: Any = None, **options: Any) -> Notebook:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        if change:
            page.route(re.compile(r"/cells/built/.*json$|/notebooks/\w+/$"), change)
        visits.append(Notebook(page, f"{site}notebooks/{name}/"))
        return visits[-1]

    yield open_page
    for context in contexts:
        context.close()
    for each in visits:
        assert [url for url in each.asked if not url.startswith((site, "data:", "blob:"))] == []
        assert each.complaints == []


def rows(text: str) -> list[list[int]]:
    """The numbers in each line of a table that has only numbers."""
    found = (re.split(r"\s+", line.strip()) for line in text.splitlines())
    return [list(map(int, row)) for row in found if all(word.isdigit() for word in row)]


def up_to_four(route: Route) -> None:
    """Spare the machine: one to four workers instead of one to six."""
    if route.request.url.endswith(".json"):
        return route.continue_()
    page = route.fetch()
    more = "".join(f'<span class="p">,</span> <span class="mi">{n}</span>' for n in (5, 6))
    assert page.text().count(more) == 1
    return route.fulfill(response=page, body=page.text().replace(more, ""))


def test_counter_is_played_for_each_number_of_workers(visit: Any) -> None:
    """Nothing is loaded before the press; then what a cell needs runs first, and all holds."""
    notebook = visit("separate_memories", up_to_four)
    page = notebook.page
    page.wait_for_load_state("networkidle")
    loaded = [url for url in notebook.asked if "/lab/" in url or "/cells/" in url]
    assert {url.rpartition("/")[2].partition("?")[0] for url in loaded} == {
        *("main.js", "lab.css", "cells.js", "messages.js")
    }
    recorded = notebook.recorded(3)
    expect(recorded).to_be_visible()
    expect(recorded.locator(".wl-plot")).to_be_visible()
    table = notebook.run(3)
    measured = rows(table)
    assert [row[0] for row in measured] == [1, 2, 3, 4]
    assert measured[0][1] == 1000
    assert all(row[1] < 1000 for row in measured[1:])
    expect(notebook.cell(2)).to_contain_text("動かし終えました")  # cell 3 needs it
    assert page.locator(".wl-output--own .wl-timeline").count() == 1
    expect(recorded).to_be_hidden()
    back = notebook.cell(3).get_by_role("button", name="記録した結果に戻す")
    back.click()
    expect(recorded).to_be_visible()
    notebook.cell(3).get_by_role("button", name="今回の結果を見る").click()
    expect(recorded).to_be_hidden()
    for number in (4, 6):
        notebook.run(number, "assert は、すべて成り立ちました")
    assert (
        sum(int(n) for n in re.findall(r"PID \d+\s+(\d+)", notebook.run(5))) == 1001
    )  # + 1 read
    assert "動いているサーバーはありません。" in notebook.run(8)
    assert page.evaluate("document.querySelectorAll('[id]').length") == page.evaluate(
        "new Set(Array.from(document.querySelectorAll('[id]'), (e) => e.id)).size"
    )


def test_stampede_is_played_and_a_worker_is_killed(visit: Any) -> None:
    """Three versions are compared, and the drill shows its kill in the timeline."""
    notebook = visit("cache_and_stampede")
    counts = {
        name: int(value)
        for name, value in re.findall(r"^(\S.*?)\t(\d+)$", notebook.run(4), re.MULTILINE)
    }
    assert counts["全員で 1 つのロック"] == counts["足りる回数"] == 2
    assert 2 < counts["ワーカーごとのロック"] < counts["ロックなし"]
    notebook.run(5, "assert は、すべて成り立ちました")
    assert "kill -9" in notebook.run(6, "assert は、すべて成り立ちました")


def spoil(route: Route) -> None:
    """The good version is the bad one."""
    if not route.request.url.endswith(".json"):
        return route.continue_()
    data = json.loads(route.fetch().text())
    versions = data["topics"]["in_memory_counter"]["versions"]
    versions["good"][1] = versions["bad"][1]
    return route.fulfill(json=data)


def test_phone_keyboard_error_and_what_is_not_there(visit: Any) -> None:
    """Dark, 390 px: a failed assertion shows its line, a cell that cannot run says so."""
    notebook = visit(
        "faults",
        spoil,
        viewport={"width": 390, "height": 844},
        color_scheme="dark",
    )
    page = notebook.page
    lacking = page.get_by_text(
        "ページの中では動きません。このセルには、共有のファイルが要ります。"
    )
    expect(lacking).to_have_count(1)
    expect(lacking.locator("xpath=following-sibling::*[1]")).to_be_visible()  # recorded
    assert notebook.button(2).count() == 0
    button = notebook.button(4)
    button.focus()
    page.keyboard.press("Enter")
    expect(notebook.cell(4)).to_contain_text("エラーで止まりました。")
    expect(button).to_be_focused()
    error = page.locator(".wl-cell__error")
    expect(error).to_contain_text("assert redis.holds")
    assert error.inner_text().rstrip().endswith("AssertionError")
    assert "/app/" not in error.inner_text()
    expect(page.get_by_role("status").filter(has_text="セル 4")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.evaluate(AXE.read_text(encoding="utf-8"))
    report = page.evaluate("axe.run(document.querySelector('article'))")
    assert [violation["id"] for violation in report["violations"]] == []


def interpreters(page: Page) -> list[str]:
    page.evaluate("0")  # lets Playwright take in what happened
    return [worker.url for worker in page.workers if "/assets/lab/" in worker.url]


def test_run_can_be_stopped_and_begun_again(visit: Any) -> None:
    """A stop ends every interpreter at once; the next press starts from nothing."""
    notebook = visit("cache_and_stampede")
    page = notebook.page
    notebook.button(2).click()
    expect(notebook.cell(1)).to_contain_text("動かし終えました")
    assert notebook.button(3).is_disabled()
    page.get_by_role("button", name="セル 2 を止める").click()
    expect(notebook.button(2)).to_be_enabled()
    wait_until(lambda: not interpreters(page), "every interpreter to be gone")
    notebook.run(7)
    assert "動かし終えました" in notebook.cell(1).inner_text()  # it ran again, for the last one
