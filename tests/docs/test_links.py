"""Every link of the built site leads somewhere, and the way out is written down in one list."""

import datetime
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

LIST = Path(__file__).with_name("external_links.txt")
HOST = "http://site.invalid/"


class Links(HTMLParser):
    """Where a page's elements point, and the ids that others can point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = {name: value or "" for name, value in attrs}
        self.ids |= {have["id"]} if "id" in have else set()
        self.targets += [have[name] for name in ("href", "src") if name in have]


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Links]:
    """Every file by its path, as a server would give it; pages with what is in them."""
    files = {path.relative_to(site).as_posix(): path for path in site.rglob("*.*")}
    found = {
        name: Links(path.read_text("utf-8") if path.suffix == ".html" else "")
        for name, path in files.items()
    }
    assert sum(bool(page.targets) for page in found.values()) > 30
    return found


def links(pages: dict[str, Links]) -> Iterator[tuple[str, str]]:
    """Each page's path and each absolute address that it points to."""
    for name, page in pages.items():
        for target in page.targets:
            yield name, urljoin(HOST + name, target)


def broken(pages: dict[str, Links]) -> set[tuple[str, str]]:
    """Links inside the site that lead to no file, or to no place on its page."""
    found = set()
    for name, url in links(pages):
        parts = urlsplit(url)
        path = unquote(parts.path).lstrip("/")
        path += "index.html" if path.endswith("/") or not path else ""
        place = unquote(parts.fragment)
        known = path in pages and (not place or place in pages[path].ids)
        if url.startswith(HOST) and not known:
            found.add((name, url.removeprefix(HOST)))
    return found


def test_internal_links_lead_to_a_page_and_a_place_on_it(pages: dict[str, Links]) -> None:
    """No link, script, style or picture is missing; every ``#place`` exists."""
    assert broken(pages) == set()


def test_external_links_are_listed_with_the_day_they_were_seen(pages: dict[str, Links]) -> None:
    """Each link out of the site is in the list, and the list has no other."""
    lines = [line for line in LIST.read_text("utf-8").splitlines() if line[:1] not in ("", "#")]
    listed = {url: day for day, url in (line.split() for line in lines)}
    outside = {url for _, url in links(pages) if re.match(r"https?:", url)} - {
        url for _, url in links(pages) if url.startswith(HOST)
    }
    assert set(listed) == outside
    for day in listed.values():
        assert day == "-" or datetime.date.fromisoformat(day) <= datetime.date.today()


def test_a_broken_link_would_be_found(pages: dict[str, Links]) -> None:
    """The check can fail: a wrong file and a wrong place are both reported."""
    page = Links('<a href="no/such/page/">x</a><a href="glossary/#no-such-place">y</a>')
    assert broken({**pages, "extra.html": page}) == {
        ("extra.html", "no/such/page/"),
        ("extra.html", "glossary/#no-such-place"),
    }
