"""Search answers what people type, in Japanese too, and costs nothing until it is asked for."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from workerlab.catalog import ROOT

pytestmark = pytest.mark.browser
LINES = [
    tuple(line.split("\t"))
    for line in Path(__file__).with_name("search_queries.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]
TOP = 3
"""The expected page is among so many first results."""
AXE = ROOT / ".cache" / "editor" / "node_modules" / "axe-core" / "axe.min.js"
ASK = """async ([index, query]) => {
  const pagefind = await import(index);
  const {results} = await pagefind.search(query);
  const pages = await Promise.all(results.map((result) => result.data()));
  return pages.map((page) => page.raw_url ?? page.url);
}"""
FIELD = "dialog[open] input"
LINK = "dialog[open] a"


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """The home page in a fresh context."""
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(site)
    yield tab
    context.close()


def found(page: Page, query: str) -> list[str]:
    """The slugs of all pages that the index gives for *query*, best first."""
    index = f"{page.evaluate('location.origin')}/assets/search/ja/pagefind.js"
    urls = page.evaluate(ASK, [index, query])
    return [url.strip("/").split("/")[-1] or "index" for url in urls]


def test_there_are_many_queries() -> None:
    """The list covers what people type; every expected page exists."""
    assert len(LINES) >= 60
    stems = {path.stem for path in (ROOT / "docs").rglob("*.md")}
    assert {slug for _, slug in LINES if slug} <= stems


def test_index_is_written_to_the_end() -> None:
    """Pagefind answers before its files are on the disk; the tool waits for them."""
    files = [
        path for path in (ROOT / "site/assets/search/index").rglob("*.*") if path.is_file()
    ]
    assert len(files) > 40
    assert [path.name for path in files if not path.stat().st_size] == []


def test_mkdocs_serve_has_the_same_index() -> None:
    """`make site` leaves the index among the sources, where ``mkdocs serve`` takes it from."""
    places = (ROOT / "docs", ROOT / "site")
    entries = [p / "assets/search/index/pagefind-entry.json" for p in places]
    assert entries[0].read_bytes() == entries[1].read_bytes()


def test_queries_find_their_page(page: Page) -> None:
    """Never "nothing found", and the page that explains it comes first, second or third."""
    wrong = {}
    for query, slug in LINES:
        slugs = found(page, query)
        if not slugs or (slug and slug not in slugs[:TOP]):
            wrong[query] = slugs[:5]
    assert wrong == {}


def test_every_term_of_the_glossary_is_found(page: Page) -> None:
    """No term that we explain ends in "nothing found"."""
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^(.+)\n:   ", glossary, re.M)
    assert len(terms) > 30
    assert [term for term in terms if not found(page, term)] == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("キャッシュスタンピード", ["キャッシュ", "スタンピード"]),
        ("ログインが切れる", ["ログイン", "切"]),
        ("on_event", ["on", "event"]),
        ("QueuePool limit", ["QueuePool", "limit"]),
        ("する", ["する"]),
        ("しきい値 警報", ["しきい値", "警報"]),
    ],
)
def test_query_becomes_content_words(page: Page, query: str, words: list[str]) -> None:
    """Compounds in known parts, no particles and endings, names in their parts."""
    module = f"{page.evaluate('location.origin')}/assets/search/ja/pagefind.js"
    known = ["キャッシュ", "スタンピード", "ログ"]
    split = "async ([m, q, k]) => (await import(m)).contentWords(q, new Set(k))"
    assert page.evaluate(split, [module, query, known]) == words


def test_every_title_is_found(page: Page) -> None:
    """Whoever types a page's own title gets that page before all others."""
    wrong = {}
    for source in sorted((ROOT / "docs").rglob("*.md")):
        title = re.search(r"^title: (.+)$", source.read_text("utf-8"), re.M)
        assert title, source
        slugs = found(page, title[1])
        if source.stem not in slugs[: TOP if source.stem == "index" else 1]:
            wrong[title[1]] = slugs[:5]
    assert wrong == {}


@pytest.mark.parametrize("keys", ["/", "Control+k"])
def test_keyboard_opens_finds_and_follows(page: Page, keys: str) -> None:
    """A key, a word, an arrow, Enter: the reader is on the page."""
    page.keyboard.press(keys)
    page.wait_for_selector(FIELD)
    page.keyboard.type("接続プールの枯渇")
    expect(page.locator(LINK).first).to_contain_text("プール")
    expect(page.locator("dialog[open] mark").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/shared-state/pool_exhaustion/**")


def test_escape_gives_the_focus_back(page: Page) -> None:
    """Opened by the button, closed by Esc, and the button has the focus again."""
    button = page.get_by_role("button", name="検索")
    button.click()
    page.wait_for_selector(FIELD)
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(button).to_be_focused()


def test_slash_in_a_text_field_is_a_slash(page: Page) -> None:
    """Whoever writes code is not interrupted."""
    page.evaluate("document.body.prepend(document.createElement('textarea'))")
    page.locator("textarea").first.press("/")
    assert page.locator("textarea").first.input_value() == "/"
    assert page.locator("dialog[open]").count() == 0


def test_nothing_is_loaded_before_it_is_asked_for(browser: Browser, site: str) -> None:
    """Neither the dialog nor the index."""
    context = browser.new_context()
    tab = context.new_page()
    urls: list[str] = []
    tab.on("request", lambda request: urls.append(request.url))
    tab.goto(site)
    tab.wait_for_load_state("networkidle")
    assert not [url for url in urls if "search/index" in url]
    tab.keyboard.press("/")
    tab.wait_for_selector(FIELD)
    assert [url for url in urls if "search/index" in url]
    assert all(url.startswith((site, "data:", "blob:")) for url in urls)
    context.close()


def test_missing_index_is_told(browser: Browser, site: str) -> None:
    """As under ``mkdocs serve`` before the first ``make site``: the button says so."""
    context = browser.new_context()
    context.route("**/search/index/**", lambda route: route.abort())
    tab = context.new_page()
    tab.goto(site)
    tab.keyboard.press("/")
    told = tab.locator(".wl-search[title^='検索を読み込めませんでした']")
    expect(told).to_have_count(1)
    context.unroute("**/search/index/**")
    tab.keyboard.press("/")
    tab.wait_for_selector(FIELD)
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_for_axe_to_find(browser: Browser, site: str, scheme: str, width: int) -> None:
    """The open dialog with results, light and dark, on a desk and on a phone."""
    context = browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": width, "height": 844},
    )
    tab = context.new_page()
    tab.goto(site)
    tab.keyboard.press("/")
    tab.locator(FIELD).fill("接続プール")
    tab.wait_for_selector("dialog[open] mark")
    tab.evaluate(AXE.read_text("utf-8"))
    report = tab.evaluate("axe.run('dialog[open]')")
    assert [(v["id"], v["nodes"][0]["html"][:120]) for v in report["violations"]] == []
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    context.close()
