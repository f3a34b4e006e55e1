"""Every page, on a desk in the light and on a phone in the dark: nothing for axe to find."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from helpers import wait_until
from workerlab.catalog import ROOT

pytestmark = pytest.mark.browser
AXE = ROOT / ".cache" / "editor" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PAGES = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))
LOOKS = {"desk-light": (1280, 1800, "light"), "phone-dark": (390, 844, "dark")}
"""Width, height, colours. Tall on the desk: links at the edge of a scrolled list are small."""


def address(site: str, path: object) -> str:
    name = str(path).removesuffix(".md")
    return site if name == "index" else f"{site}{name}/"


@pytest.fixture(scope="module", params=LOOKS.values(), ids=LOOKS)
def tab(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """One tab for all pages of a look."""
    width, height, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_nothing_for_axe_to_find(tab: Page, site: str, path: object) -> None:
    """WCAG 2.2 AA and best practice; and the page is as wide as the screen."""
    tab.goto(address(site, path))
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    report = tab.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    found = {
        violation["id"]: [node["html"][:160] for node in violation["nodes"]][:3]
        for violation in report["violations"]
    }
    assert found == {}
    assert len(report["passes"]) > 15  # axe looked at something
    screen = "[document.documentElement.scrollWidth, innerWidth]"
    width, inner = tab.evaluate(screen)
    assert width == inner


def test_axe_would_find_something(browser: Browser, site: str) -> None:
    """The check can fail: grey on grey and a picture without words are reported."""
    page = browser.new_page()
    page.goto(site)
    page.evaluate(
        """() => {
        const article = document.querySelector('article');
        article.insertAdjacentHTML('beforeend', '<img src="x.png"><p>見えない</p>');
        Object.assign(article.lastChild.style, {color: '#999', background: '#aaa'});
        }"""
    )
    page.evaluate(AXE.read_text(encoding="utf-8"))
    report = page.evaluate("rules => axe.run(document, {runOnly: rules})", RULES)
    assert {"image-alt", "color-contrast"} <= {v["id"] for v in report["violations"]}
    page.close()


def test_copy_button_still_copies(browser: Browser, site: str) -> None:
    """Our own script moves Material's buttons out of their landmark; they keep working."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{site}shared-state/in_memory_counter/")
    block = page.locator(".highlight:visible", has_text="count").first
    block.scroll_into_view_if_needed()
    block.hover()
    button = block.locator("div.md-code__nav button").first
    button.click()
    copied = wait_until(
        lambda: page.evaluate("navigator.clipboard.readText()"), "something in the clipboard"
    )
    assert "count" in copied
    context.close()


def test_wide_table_moves_with_the_keys(browser: Browser, site: str) -> None:
    """On a phone a wide table is in the tab order and has a name."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{site}environment/")
    box = page.locator(".md-typeset__scrollwrap[tabindex='0']").first
    box.wait_for()
    assert box.get_attribute("aria-label")
    box.focus()
    page.keyboard.press("ArrowRight")
    assert wait_until(lambda: box.evaluate("box => box.scrollLeft") > 0, "it moved") is True
    page.close()
