"""Japanese set as a book sets it: lines of 38 to 44 characters, whole words in headings."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from workerlab.catalog import ROOT

pytestmark = pytest.mark.browser
SITE = ROOT / "site"
PAGES = sorted(path.relative_to(SITE).parent for path in SITE.rglob("index.html"))
PROSE = "shared-state/in_memory_counter/"
MEASURE = """() => [...document.querySelectorAll(".md-content__inner > p:not(.wl-lead)")]
  .map((p) => p.getBoundingClientRect().width / parseFloat(getComputedStyle(p).fontSize))"""
STYLE = """(selector) => {
  const style = getComputedStyle(document.querySelector(selector));
  return Object.fromEntries(["wordBreak", "textWrap", "lineBreak", "textAutospace"]
    .map((name) => [name, style[name]]));
}"""
OVERFLOW = """() => {
  const root = document.documentElement;
  return root.scrollWidth - root.clientWidth;
}"""
SQUEEZED = """() => [...document.querySelectorAll(".md-typeset pre > code")].filter(
  (code) => code.getBoundingClientRect().right > innerWidth + 1
    || (code.scrollWidth > code.clientWidth && getComputedStyle(code).overflowX !== "auto"),
).length"""


def context(browser: Browser, width: int) -> Iterator[BrowserContext]:
    opened = browser.new_context(viewport={"width": width, "height": 844})
    opened.set_default_timeout(120_000)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def wide(browser: Browser, site: str) -> Iterator[Page]:
    """A topic page on a desktop."""
    for opened in context(browser, 1280):
        page = opened.new_page()
        page.goto(site + PROSE)
        yield page


@pytest.fixture(scope="module")
def narrow(browser: Browser) -> Iterator[Page]:
    """A phone."""
    for opened in context(browser, 390):
        yield opened.new_page()


def test_lines_hold_38_to_44_characters(wide: Page) -> None:
    """At 1280: a paragraph is as wide as so many full-width characters of its own size."""
    lengths = wide.evaluate(MEASURE)
    assert len(lengths) > 5
    assert all(38 <= length <= 44 for length in lengths), lengths


@pytest.mark.parametrize("selector", ["h1", "h2", "summary", "figcaption", "th"])
def test_short_texts_break_between_phrases(wide: Page, selector: str) -> None:
    """Headings and the like are balanced and don't break inside a word."""
    style = wide.evaluate(STYLE, f".md-content .md-typeset :is({selector})")
    assert style["wordBreak"] == "auto-phrase"
    assert style["textWrap"] == "balance"


def test_body_has_the_rules_of_japanese(wide: Page) -> None:
    """No small kana at the start of a line, a gap between Latin and Japanese."""
    style = wide.evaluate(STYLE, ".md-content__inner > p")
    assert style["lineBreak"] == "strict"
    assert style["textAutospace"] == "normal"
    assert style["textWrap"] == "pretty"


def test_there_are_pages() -> None:
    """The built site was found."""
    assert Path(PROSE) in PAGES


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_phone_scrolls_down_only(narrow: Page, site: str, path: Path) -> None:
    """At 390 no page is wider than the screen; long code scrolls inside its frame."""
    narrow.goto(f"{site}{path.as_posix()}/")
    assert narrow.evaluate(OVERFLOW) == 0
    assert narrow.evaluate(SQUEEZED) == 0


def test_widest_table_of_words_is_whole_on_a_desktop(wide: Page, site: str) -> None:
    """At 1280 six columns are seen without moving; a command in a heading is in one piece."""
    wide.goto(f"{site}workers/choose_a_server/")
    boxes = ".wl-words .md-typeset__scrollwrap"
    wide.locator(boxes).nth(1).wait_for()
    hidden = "boxes => boxes.map((box) => box.scrollWidth - box.clientWidth)"
    assert wide.locator(boxes).evaluate_all(hidden) == [0, 0, 0]
    lines = "codes => codes.map((code) => code.getClientRects().length)"
    assert set(wide.locator(".wl-words th code").evaluate_all(lines)) == {1}
