"""The first load of each page in a real Chromium: weight, hosts, width, errors."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page

from helpers import wait_until

pytestmark = pytest.mark.browser
WATCH_SHIFTS = """
  window.shifts = [];
  new PerformanceObserver((list) => shifts.push(...list.getEntries().map(({value, sources}) =>
    ({value, moved: sources.map(({node}) => node?.parentElement?.className)}))))
    .observe({type: "layout-shift", buffered: true});
"""
BUDGET = 150_000
"""Bytes over the wire for the first load of a page, with ordinary gzip."""
BUDGETS = {
    "": 115_000,
    "shared-state/in_memory_counter/": 145_000,
    "shared-state/session_store/": 145_000,
    "solutions/choose_a_store/": 105_000,
    "glossary/": 105_000,
}
"""A tenth above what they weigh: home, with a lab that nobody started, only to read."""
PAGES = (*BUDGETS, "shared-state/file_append/", "environment/")


@dataclass
class Load:
    """What the first visit of a page cost."""

    page: Page
    urls: list[str] = field(default_factory=list)
    bytes: int = 0
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[object]:
    """Open a page in a fresh context: nothing cached."""
    contexts = []

    def open_page(path: str, *, width: int = 1280, dark: bool = False, watch: str = "") -> Load:
        context = browser.new_context(
            viewport={"width": width, "height": 844},
            color_scheme="dark" if dark else "light",
        )
        contexts.append(context)
        context.add_init_script(watch)
        page = context.new_page()
        load = Load(page)
        session = context.new_cdp_session(page)
        session.send("Network.enable")

        def finished(event: dict[str, float]) -> None:
            load.bytes += int(event["encodedDataLength"])

        session.on("Network.loadingFinished", finished)
        page.on("request", lambda request: load.urls.append(request.url))
        page.on("pageerror", lambda error: load.complaints.append(str(error)))
        page.on(
            "console",
            lambda m: (
                load.complaints.append(m.text) if m.type in ("error", "warning") else None
            ),
        )
        page.goto(site + path)
        page.wait_for_load_state("networkidle")
        return load

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("path", PAGES)
def test_first_load_is_light_and_asks_no_other_host(visit, site: str, path: str) -> None:  # type: ignore[no-untyped-def]
    """At most 150 kB gzip, everything from our own host, no error in the console."""
    load = visit(path)
    own = [url for url in load.urls if url.startswith((site, "data:", "blob:"))]
    assert load.urls == own
    assert len(own) > 3
    assert 20_000 < load.bytes <= BUDGET
    assert load.complaints == []


@pytest.mark.parametrize("path", BUDGETS)
def test_page_keeps_the_budget_of_its_type(visit, path: str) -> None:  # type: ignore[no-untyped-def]
    """Nothing grows unseen: what a reader pays for is what was decided."""
    load = visit(path)
    assert not [url for url in load.urls if "/runtime/" in url or "/search/index/" in url]
    assert BUDGETS[path] * 0.8 < load.bytes <= BUDGETS[path]


@pytest.mark.parametrize("path", BUDGETS)
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_jumps_while_the_page_loads(  # type: ignore[no-untyped-def]
    visit, path: str, width: int
) -> None:
    """No layout shift at all (Google calls 0.1 good), on a desk and on a phone."""
    page = visit(path, width=width, watch=WATCH_SHIFTS).page
    page.wait_for_function("document.querySelector('.wl-search')")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    assert page.evaluate("shifts") == []


def test_a_jump_would_be_seen(visit) -> None:  # type: ignore[no-untyped-def]
    """The check can fail: something put above the text moves all of it."""
    page = visit("", watch=WATCH_SHIFTS).page
    page.evaluate("document.querySelector('article').prepend(document.createElement('pre'))")
    page.evaluate("document.querySelector('pre').textContent = 'late'")
    assert wait_until(lambda: page.evaluate("shifts.length"), "a shift")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_phone_has_no_sideways_scroll(visit, path: str, dark: bool) -> None:  # type: ignore[no-untyped-def]
    """At 390 px the page is as wide as the screen; tables and code scroll by themselves."""
    page = visit(path, width=390, dark=dark).page
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_dark_mode_reaches_the_picture(visit) -> None:  # type: ignore[no-untyped-def]
    """The picture takes its colours from the page: light on dark and dark on light."""
    colours = [
        visit("", dark=dark).page.evaluate(
            "getComputedStyle(document.querySelector('.wl-timeline')).color"
        )
        for dark in (False, True)
    ]
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours]
    assert brightness[0] < 200 < 560 < brightness[1]


def test_picture_text_is_legible_on_a_phone(visit) -> None:  # type: ignore[no-untyped-def]
    """No text of the picture is drawn smaller than 8.5 px at 390 px."""
    heights = visit("", width=390).page.evaluate(
        """() => {
          const svg = document.querySelector('.wl-timeline');
          const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
          return [...svg.querySelectorAll('text')]
            .map((t) => parseFloat(getComputedStyle(t).fontSize) * scale);
        }"""
    )
    assert len(heights) > 8
    assert min(heights) >= 8.5


def test_tabs_of_bad_and_good_switch_together(visit) -> None:  # type: ignore[no-untyped-def]
    """Choosing good.py for the picture chooses it for the code as well."""
    page = visit("shared-state/in_memory_counter/").page
    page.get_by_text("good.py（直した版）").first.click()
    checked = "[...document.querySelectorAll('.tabbed-set')].map(s => [...s.children]"
    checked += ".filter(c => c.tagName === 'INPUT').findIndex(i => i.checked))"
    assert wait_until(lambda: page.evaluate(checked) == [1, 1], "both sets of tabs") is True
