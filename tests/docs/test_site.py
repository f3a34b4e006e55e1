"""The built site: strict, whole, without another host, with the blocks that we counted."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import fences
from helpers import build, workerlab
from workerlab.catalog import ROOT

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
LINK_LOADS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "manifest"}


class Page(HTMLParser):
    """What a test wants to know of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.headings: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.blocks = 0
        self.pictures = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = {key: value or "" for key, value in attrs}
        if tag in LOADING and LOADING[tag] in have:
            self.loads.append(have[LOADING[tag]])
        if tag == "link" and set(have.get("rel", "").split()) & LINK_LOADS:
            self.loads.append(have["href"])
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append((tag, have.get("id", "")))
        if "id" in have:
            self.ids.append(have["id"])
        self.blocks += "highlight" in have.get("class", "").split() and tag == "div"
        self.pictures += tag == "svg" and "wl-timeline" in have.get("class", "")


def pages(site: Path) -> Iterator[tuple[Path, Page]]:
    for path in sorted(site.rglob("index.html")):
        yield path, Page(path.read_text(encoding="utf-8"))


def source_of(site: Path, page: Path) -> Path:
    relative = page.parent.relative_to(site).as_posix()
    return ROOT / "docs" / ("index.md" if relative == "." else f"{relative}.md")


def test_every_source_became_a_page(site: Path) -> None:
    """One HTML page for each Markdown page."""
    built = {source_of(site, path) for path, _ in pages(site)}
    assert built == set((ROOT / "docs").rglob("*.md"))


def test_no_page_loads_from_another_host(site: Path) -> None:
    """Scripts, styles, pictures and fonts are our own; so are those that styles name."""
    for path, page in pages(site):
        foreign = [url for url in page.loads if re.match(r"(https?:)?//", url)]
        assert foreign == [], path
    for sheet in site.rglob("*.css"):
        urls = re.findall(r"url\(['\"]?((?:https?:)?//[^)'\"]+)", sheet.read_text("utf-8"))
        assert urls == [], sheet


def test_every_block_was_rendered_as_code(site: Path) -> None:
    """A fence that Markdown did not understand would stand in the page as text."""
    for path, page in pages(site):
        source = source_of(site, path)
        parts = [source, *fences.included_pages(source, ROOT / "examples")]
        assert page.blocks == sum(len(fences.find(part)) for part in parts), source.name
        text = re.sub(
            r"<(code|script|style)\b.*?</\1>", "", path.read_text("utf-8"), flags=re.S
        )
        assert "```" not in text, source.name
        assert "--8<--" not in text, source.name


def test_headings_have_ascii_ids_of_their_own(site: Path) -> None:
    """A Japanese heading without an id would get a number, and links to it would rot."""
    for path, page in pages(site):
        for level, ident in page.headings:
            assert re.fullmatch(r"[a-z][a-z0-9-]*", ident), (source_of(site, path).name, level)
        assert len(page.ids) == len(set(page.ids)), source_of(site, path).name


def test_pictures_stand_in_the_page_itself(site: Path) -> None:
    """Inline, so that dark mode and screen readers reach them."""
    shown = {source_of(site, path).stem: page.pictures for path, page in pages(site)}
    assert shown["index"] == 1
    assert shown["in_memory_counter"] == 2


def test_sentences_join_without_a_space(site: Path) -> None:
    """One sentence per line in the source, no gap after 「。」 in the page."""
    text = (site / "index.html").read_text(encoding="utf-8")
    body = re.sub(r"<(pre|script|style|svg)\b.*?</\1>", "", text, flags=re.S)
    assert re.findall(r"[。、）」]\n *[^\s<]", body) == []


def test_strict_build_fails_on_a_missing_include(tmp_path: Path) -> None:
    """The check that everything leans on: a vanished file stops the build."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text('# x\n\n--8<-- "no/such/file.py"\n', encoding="utf-8")
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    broken = tmp_path / "mkdocs.yml"
    broken.write_text(text[: text.index("nav:")], encoding="utf-8")
    done = build(tmp_path / "site", broken)
    assert done.returncode != 0
    assert "no/such/file.py" in done.stderr + done.stdout


def test_serve_without_a_site_says_what_to_do(tmp_path: Path) -> None:
    """Not a traceback, not an empty page."""
    done = workerlab("serve", env={"WORKERLAB_ROOT": str(tmp_path)}).run()
    assert done.returncode == 2
    assert "make site" in done.stderr
