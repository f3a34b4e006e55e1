"""The small interactive parts of pages, by keyboard and with what a screen reader is told."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A tab in a context that knows nothing yet."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_checklist_is_kept_in_this_browser(tab: Page, site: str) -> None:
    """Checked with the keyboard, counted aloud, still there after a reload, and cleared."""
    asked: list[str] = []
    tab.goto(f"{site}best_practices/")
    first = tab.get_by_role("checkbox").first
    status = tab.get_by_role("status")
    expect(status).to_contain_text("項目のうち 0 項目")
    count = tab.get_by_role("checkbox").count()
    assert count > 20
    first.focus()
    tab.on("request", lambda request: asked.append(request.url))
    tab.keyboard.press("Space")
    expect(status).to_contain_text(f"{count} 項目のうち 1 項目")
    assert asked == []  # nothing is sent
    tab.reload()
    expect(first).to_be_checked()
    expect(first).to_have_accessible_name(
        "増減する値を、プロセスの外で、1 回の操作で変えている。"
    )
    clear = tab.get_by_role("button", name="印をすべて外す")
    clear.press("Enter")
    expect(first).not_to_be_checked()
    expect(clear).to_be_disabled()
    tab.reload()
    expect(first).not_to_be_checked()


def test_checklist_survives_a_strange_memory(tab: Page, site: str) -> None:
    """What somebody else left under the key is ignored."""
    tab.goto(f"{site}best_practices/")
    tab.evaluate("localStorage.setItem('wl-checklist', '{broken')")
    tab.reload()
    expect(tab.get_by_role("status")).to_contain_text("項目のうち 0 項目")


def test_checklist_is_a_list_without_javascript(browser: Browser, site: str) -> None:
    """The items are the page's text; only the boxes are missing."""
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{site}best_practices/")
    expect(tab.get_by_text("増減する値を、プロセスの外で")).to_be_visible()
    expect(tab.get_by_role("checkbox", name="増減する値を")).to_have_count(0)
    context.close()


def test_specifier_box_answers_while_typing(tab: Page, site: str) -> None:
    """By keyboard: what fits, what is a pre-release, and what is no specifier."""
    tab.goto(f"{site}solutions/requirements/")
    status = tab.get_by_role("status")
    expect(status).to_have_text("6 個の版のうち、選ばれるのは 2 個です。")
    specifier = tab.get_by_label("指定（")
    specifier.fill(">=0.109.2")
    expect(status).to_have_text("6 個の版のうち、選ばれるのは 4 個です。")
    row = tab.get_by_role("row", name="0.110.0rc1")
    expect(row).to_contain_text("△")
    specifier.press("Tab")
    expect(tab.get_by_label("版（空白で区切る）")).to_be_focused()
    tab.keyboard.press("Control+a")
    tab.keyboard.type("0.110.0rc1 latest")
    expect(status).to_contain_text("「latest」は版として読めません")
    specifier.fill("===1.0")
    tab.get_by_label("版（空白で区切る）").fill("1.0")
    expect(status).to_contain_text("扱いません")
