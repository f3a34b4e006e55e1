"""The built site under its strict Content-Security-Policy: nothing breaks, nothing gets in."""

from collections.abc import Iterator

import pytest
from lab_site import Reader, serving
from playwright.sync_api import Browser, Page, expect

from helpers import wait_until
from workerlab.catalog import ROOT

pytestmark = pytest.mark.browser
SEEN = """
  window.violations = [];
  document.addEventListener("securitypolicyviolation", (event) =>
    violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}`));
"""
INTRUDER = """() => {
  const script = document.createElement("script");
  script.textContent = "window.intruded = true";
  document.body.append(script);
  document.body.insertAdjacentHTML("beforeend", '<img src="x" onerror="intruded = true">');
  return window.intruded === true;
}"""


@pytest.fixture(params=["headers", "meta"])
def reader(browser: Browser, site: str, request: pytest.FixtureRequest) -> Iterator[Reader]:
    """Somebody who reads the site from ``make serve``, or below a path without headers."""
    with serving(ROOT / "site") as plain:
        opened = Reader(browser, site if request.param == "headers" else plain)
        opened.context.add_init_script(SEEN)
        opened.page.on(
            "console",
            lambda message: (
                opened.errors.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        opened.page.on(
            "response",
            lambda answer: opened.errors.append(answer.url) if answer.status >= 400 else None,
        )
        yield opened
        opened.context.close()
        assert opened.errors == []


def violations(page: Page) -> list[str]:
    """What the page's policy has blocked so far."""
    found: list[str] = page.evaluate("violations")
    return found


def rules(page: Page) -> set[str]:
    """Which rules were broken; a policy in the page and one in a header report twice."""
    return {line.split()[0] for line in violations(page)}


def test_home_and_search_work_under_the_policy(reader: Reader) -> None:
    """The home page, the search dialog with results, and the way to a result."""
    page = reader.page
    page.goto(reader.url)
    page.keyboard.press("/")
    page.locator("dialog[open] input").fill("接続プール")
    expect(page.locator("dialog[open] mark").first).to_be_visible()
    assert violations(page) == []
    page.locator("dialog[open] a").first.click()
    page.wait_for_url("**/pool_exhaustion/**")
    assert page.url.startswith(reader.url)
    assert violations(page) == []


def test_lab_runs_under_the_policy(reader: Reader) -> None:
    """The editor, Python and Redis in their workers: a whole run, and nothing is blocked."""
    lab = reader.open().choose("good.py", workers=2)
    lab.host.locator(".wl-lab__code").hover()
    lab.host.locator(".cm-content").wait_for()
    assert lab.run() == "holds"
    assert violations(reader.page) == []


def test_settings_of_the_theme_work_under_the_policy(reader: Reader) -> None:
    """The inline scripts of the theme run: chosen colours are there on the next page."""
    page = reader.page
    page.goto(reader.url)
    page.locator("label[title='ライトモードに切り替える']").click()
    page.locator("label[title='ダークモードに切り替える']").click()
    page.goto(f"{reader.url}glossary/")
    assert page.locator("body").get_attribute("data-md-color-scheme") == "slate"
    assert violations(page) == []


def test_injected_script_is_blocked(reader: Reader) -> None:
    """Neither an inline script nor a handler in an attribute runs; both are reported."""
    page = reader.page
    page.goto(reader.url)
    assert page.evaluate(INTRUDER) is False
    assert wait_until(lambda: rules(page) == {"script-src-elem", "script-src-attr"}, "both")
    assert page.evaluate("window.intruded") is None
    reader.errors.clear()
