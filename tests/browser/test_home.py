"""The home page says in ten seconds what it is about: before any scrolling."""

import pytest
from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
VISIBLE = """(selector) => {
  const box = document.querySelector(selector).getBoundingClientRect();
  const seen = Math.min(box.bottom, innerHeight) - Math.max(box.top, 0);
  return Math.max(seen, 0) / box.height;
}"""
LINES = """() => [...document.querySelectorAll(".wl-timeline path, .wl-timeline polyline")]
  .filter((line) => line.getBoundingClientRect().top < innerHeight).length"""


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desk", "phone"])
def test_thesis_and_its_failure_stand_above_the_fold(
    browser: Browser, site: str, size: tuple[int, int]
) -> None:
    """The thesis as a whole, and at least half of the picture of four wrong counters."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(site)
    assert page.evaluate(VISIBLE, "h1") == 1
    assert page.evaluate(VISIBLE, ".wl-lead") == 1
    assert "数が合わなくなるだけです" in page.locator(".wl-lead").inner_text()
    assert page.evaluate(VISIBLE, ".wl-timeline") >= 0.5
    assert page.evaluate(LINES) > 0
    page.close()
