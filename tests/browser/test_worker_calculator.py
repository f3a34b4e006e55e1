"""The calculator of 「ワーカー数の決め方」 in a real browser: keys, words, errors."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """The page, with its calculator ready."""
    page = browser.new_page()
    page.goto(f"{site}workers/how_many_workers/")
    page.get_by_role("status").wait_for()
    yield page
    page.close()


def test_typing_changes_the_number_and_the_reason(page: Page) -> None:
    """With the keys alone: Tab goes from field to field, the answer is a live region."""
    answer = page.locator("worker-calculator").get_by_role("status")
    expect(answer).to_contain_text("2 ワーカーから始めます")
    page.get_by_label("CPU の割り当て").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("8")
    expect(answer).to_contain_text(
        "2 ワーカーから始めます。決めたのは、データベースの接続です。"
    )
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("100")
    expect(answer).to_contain_text("1 ワーカーから始めます。決めたのは、メモリです。")
    page.get_by_label("ワーカーに使えるメモリ").fill("")
    expect(answer).to_contain_text("メモリは確かめていません")


def test_wrong_field_says_what_it_needs(page: Page) -> None:
    """The words are the field's description, and no answer pretends to be one."""
    pool = page.get_by_label("pool_size")
    pool.fill("0")
    expect(pool).to_have_attribute("aria-invalid", "true")
    expect(pool).to_have_accessible_description("1 以上の数を入れてください。")
    expect(page.get_by_role("status")).to_contain_text("入力を直すと")
    pool.fill("5")
    expect(pool).to_have_attribute("aria-invalid", "false")
    expect(page.get_by_role("status")).to_contain_text("ワーカーから始めます")


def test_without_javascript_the_rule_stays(browser: Browser, site: str) -> None:
    """The element's own text says what to do instead."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}workers/how_many_workers/")
    expect(page.locator("worker-calculator")).to_contain_text("3 つの計算")
    context.close()
