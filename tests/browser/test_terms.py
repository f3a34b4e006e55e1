"""The glossary's explanation beside a word: pointer, keyboard and finger (WCAG 1.4.13)."""

from collections.abc import Iterator

import pytest
from lab_site import serving
from playwright.sync_api import Browser, Locator, Page, expect

from helpers import wait_until
from workerlab.catalog import ROOT

pytestmark = pytest.mark.browser
expect.set_options(timeout=60_000)  # milliseconds; a busy machine takes long to load a page
AXE = ROOT / ".cache" / "editor" / "node_modules" / "axe-core" / "axe.min.js"
TOPIC = "shared-state/in_memory_counter/"
TEXT = "リクエストを処理する OS のプロセスです。"
BOXES = """[...document.querySelectorAll("article :is(p, li, dd)")].map((e) => {
  const {x, y, width, height} = e.getBoundingClientRect();
  return [x, y, width, height].map(Math.round).join();
})"""
RECTANGLES = """word => [document.querySelector("#wl-term-tip"), word]
  .map((e) => e.getBoundingClientRect()).map((r) => [r.left, r.top, r.right, r.bottom])
  .concat([[innerWidth, innerHeight]])"""
UNWRAP = """document.querySelectorAll("a.wl-term").forEach((link) => {
  link.replaceWith(...link.childNodes);
})"""


def opened(browser: Browser, site: str, **options: object) -> Page:
    page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
    page.goto(site + TOPIC)
    expect(page.locator("#wl-term-tip")).to_have_count(1)
    return page


@pytest.fixture
def tab(browser: Browser, site: str) -> Iterator[Page]:
    """A topic page on a desk; the script is there."""
    page = opened(browser, site, viewport={"width": 1280, "height": 900})
    yield page
    page.context.close()


def term(page: Page) -> Locator:
    return page.locator("a.wl-term", has_text="ワーカープロセス")


def tip(page: Page) -> Locator:
    return page.get_by_role("tooltip")


def test_pointer_opens_it_and_may_move_onto_it(tab: Page) -> None:
    """It stays while the pointer is on either, and goes when it is on neither."""
    term(tab).hover()
    expect(tip(tab)).to_contain_text(TEXT)
    tip(tab).hover()
    tab.wait_for_timeout(600)  # longer than it lingers
    expect(tip(tab)).to_be_visible()
    tab.locator("h1").hover()
    expect(tip(tab)).to_be_hidden()


def test_escape_closes_it_where_the_pointer_is(tab: Page) -> None:
    """Nothing has to be moved; nor does the browser's own tooltip follow."""
    term(tab).hover()
    expect(tip(tab)).to_be_visible()
    tab.keyboard.press("Escape")
    expect(tip(tab)).to_be_hidden()
    assert not term(tab).get_attribute("title")
    tab.locator("h1").hover()
    assert TEXT in (term(tab).get_attribute("title") or "")
    term(tab).hover()
    expect(tip(tab)).to_be_visible()


def test_keyboard_opens_it_and_follows_the_link(tab: Page, site: str) -> None:
    """Focus shows it and a screen reader is told; Esc closes; Enter leads to the entry."""
    tab.keyboard.press("Tab")  # from now on the focus is a keyboard's
    term(tab).focus()
    expect(tip(tab)).to_contain_text(TEXT)
    expect(term(tab)).to_have_attribute("aria-describedby", "wl-term-tip")
    tab.keyboard.press("Escape")
    expect(tip(tab)).to_be_hidden()
    expect(term(tab)).to_be_focused()
    tab.keyboard.press("Tab")
    tab.keyboard.press("Shift+Tab")
    expect(tip(tab)).to_be_visible()
    tab.keyboard.press("Tab")
    expect(tip(tab)).to_be_hidden()
    term(tab).press("Enter")
    tab.wait_for_url(f"{site}glossary/#term-worker-process")
    expect(tab.locator("dt:target")).to_have_text("ワーカープロセス（worker process）")


def test_finger_opens_it_first_and_follows_then(browser: Browser, site: str) -> None:
    """One tap shows, a tap elsewhere closes, a second tap on the word is the link."""
    page = opened(browser, site, viewport={"width": 390, "height": 844}, has_touch=True)
    term(page).tap()
    expect(tip(page)).to_contain_text(TEXT)
    page.locator("h1").tap()
    expect(tip(page)).to_be_hidden()
    assert page.url.endswith(TOPIC)
    term(page).tap()
    expect(tip(page)).to_be_visible()
    term(page).tap()
    page.wait_for_url("**/glossary/#term-worker-process")
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_open_it_is_inside_the_screen_and_axe_finds_nothing(
    browser: Browser, site: str, scheme: str, width: int
) -> None:
    """Every word of the page: beside it, not over it, not wider than the screen."""
    page = opened(browser, site, viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.keyboard.press("Tab")  # from now on the focus is a keyboard's
    words = page.locator("a.wl-term")
    assert words.count() > 4
    for number in range(words.count()):
        words.nth(number).focus()
        expect(tip(page)).to_be_visible()
        shown, over, screen = page.evaluate(RECTANGLES, words.nth(number).element_handle())
        assert shown[0] >= 0
        assert shown[1] >= 0
        assert shown[2] <= screen[0]
        assert shown[3] <= screen[1]
        assert shown[1] >= over[3] or shown[3] <= over[1]
    page.evaluate(AXE.read_text("utf-8"))
    report = page.evaluate("axe.run()")
    assert [(v["id"], v["nodes"][0]["html"][:120]) for v in report["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.context.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("media", ["screen", "print"])
def test_marks_move_no_text(browser: Browser, site: str, width: int, media: str) -> None:
    """Without the links every paragraph stands where it stood; on paper nothing is seen."""
    page = opened(browser, site, viewport={"width": width, "height": 844})
    page.emulate_media(media=media)  # type: ignore[arg-type]
    before = page.evaluate(BOXES)
    lines = "getComputedStyle(document.querySelector('a.wl-term')).textDecorationLine"
    assert page.evaluate(lines) == ("none" if media == "print" else "underline")
    page.evaluate(UNWRAP)
    assert page.evaluate(BOXES) == before
    page.context.close()


def test_it_stays_beside_a_word_that_moves(tab: Page) -> None:
    """Something above grows while the explanation is open, as a lab does when it is near."""
    term(tab).hover()
    tab.keyboard.press("Tab")
    term(tab).focus()
    tab.evaluate(
        "document.querySelector('h1').insertAdjacentHTML('afterend', '<pre>\\n\\n</pre>')"
    )
    gap = """word => document.querySelector("#wl-term-tip").getBoundingClientRect().top
      - word.getBoundingClientRect().bottom"""
    assert wait_until(lambda: 0 <= term(tab).evaluate(gap) < 20, "beside the word")


def test_without_script_the_word_is_a_link_with_a_title(browser: Browser) -> None:
    """Below a path, too; and nothing else of the page knows of it."""
    with serving(ROOT / "site") as plain:
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(plain + TOPIC)
        assert TEXT in (term(page).get_attribute("title") or "")
        term(page).click()
        page.wait_for_url(f"{plain}glossary/#term-worker-process")
        context.close()


def test_nothing_is_asked_for(tab: Page) -> None:
    """The explanation is in the page: it is there without a network."""
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    term(tab).hover()
    assert wait_until(lambda: tip(tab).is_visible(), "the explanation")
    assert asked == []
