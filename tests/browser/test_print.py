"""A printed page: everything folded is open, what can only be pressed is gone."""

import pytest
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
HEIGHTS = """selectors => selectors.map((selector) =>
  Math.max(...Array.from(document.querySelectorAll(selector),
    (element) => element.getBoundingClientRect().height)))"""
GONE = [".md-header", ".md-footer", ".md-sidebar", ".wl-lab", ".md-typeset .headerlink"]
FOLDED = "document.querySelectorAll('details:not([open])').length"


def test_print_opens_what_is_folded_and_hides_what_is_pressed(
    browser: Browser, site: str
) -> None:
    """Header, sidebars, lab and anchors take no room; text in closed boxes can be seen."""
    page = browser.new_page()
    page.goto(f"{site}shared-state/in_memory_counter/")
    box = page.locator("details:not([open]) > :not(summary)").first
    assert page.evaluate(FOLDED) > 0
    assert not box.is_visible()
    page.emulate_media(media="print")
    assert box.is_visible()
    assert set(page.evaluate(HEIGHTS, GONE)) == {0}
    page.close()
