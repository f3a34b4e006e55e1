"""「読んだ」: the reader's own marks, kept in this browser, shown where the reading starts."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from workerlab.catalog import ROOT

pytestmark = pytest.mark.browser
expect.set_options(timeout=60_000)  # milliseconds; a busy machine takes long to load a page
AXE = ROOT / ".cache" / "editor" / "node_modules" / "axe-core" / "axe.min.js"
TOPIC = "shared-state/in_memory_counter/"
TITLE = "メモリの中のカウンター"


@pytest.fixture
def tab(browser: Browser, site: str) -> Iterator[Page]:
    """A tab in a context that knows nothing yet; whatever it asks for is the site's."""
    context = browser.new_context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    assert [url for url in asked if not url.startswith(site)] == []


def entry(tab: Page) -> Locator:
    """The page in the list that is open."""
    return tab.locator("article li", has=tab.get_by_role("link", name=TITLE)).first


@pytest.mark.parametrize("overview", ["", "paths/"])
def test_mark_is_kept_and_shown_in_the_lists(tab: Page, site: str, overview: str) -> None:
    """Set with the keyboard, there after a reload, told in words and a sign, taken back."""
    tab.goto(site + overview)
    clear = tab.get_by_role("button", name="印をすべて外す")
    expect(tab.locator(".wl-reading")).to_have_count(1)
    expect(clear).not_to_be_visible()
    tab.goto(site + TOPIC)
    button = tab.get_by_role("button", name="読んだ", exact=True)
    expect(button).to_have_attribute("aria-pressed", "false")
    button.press("Enter")
    tab.reload()
    expect(button).to_have_attribute("aria-pressed", "true")

    tab.goto(site + overview)
    expect(entry(tab)).to_contain_text("（読んだページ）")
    marker = entry(tab).evaluate("item => getComputedStyle(item, '::marker').content")
    assert "✓" in marker
    expect(tab.locator(".wl-read__said")).to_have_count(1)
    expect(tab.locator("article [role=status]")).to_contain_text("ここから読んだページ：1")
    tab.evaluate(AXE.read_text("utf-8"))
    assert tab.evaluate("axe.run('article')")["violations"] == []
    clear.press("Enter")
    expect(entry(tab)).not_to_contain_text("（読んだページ）")
    tab.goto(site + TOPIC)
    expect(button).to_have_attribute("aria-pressed", "false")


def test_marks_move_nothing_in_the_lists(tab: Page, site: str) -> None:
    """The list stands where it stood, with a sign in the margin."""
    boxes = "[...document.querySelectorAll('article li')].map(e => e.getBoundingClientRect().y)"
    tab.goto(f"{site}paths/")
    expect(tab.locator(".wl-reading")).to_have_count(1)
    before = tab.evaluate(boxes)
    tab.evaluate(f"localStorage.setItem('wl-read', JSON.stringify(['{TOPIC}']))")
    tab.reload()
    expect(entry(tab)).to_contain_text("（読んだページ）")
    assert tab.evaluate(boxes) == before


def test_without_storage_the_page_is_whole(tab: Page, site: str) -> None:
    """What somebody else left under the key, or a browser that forbids it, breaks nothing."""
    forbid = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no') }})"
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.goto(site + TOPIC)
    tab.evaluate("localStorage.setItem('wl-read', '{broken')")
    tab.goto(f"{site}paths/")
    expect(tab.locator(".wl-reading")).to_have_count(1)
    expect(tab.locator(".wl-read")).to_have_count(0)
    assert errors == []
    tab.evaluate(forbid)
    tab.evaluate("document.querySelector('.wl-reading button').click()")
    assert errors == []
