"""Make the search index from the built pages: Pagefind's, with each page's title in it.

Writes ``docs/assets/search/index`` (so that ``mkdocs serve`` has it too) and copies it into the
site. Beside Pagefind's files lie ``katakana.json``, the words that the pages write alone, with
which the search takes compounds apart, and ``titles.json``: who types a title wants that page.
"""

import asyncio
import html
import json
import re
import shutil
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from pagefind.index import IndexConfig
from pagefind.service import PagefindService

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "site"
INDEX = ROOT / "docs" / "assets" / "search" / "index"
TITLE = re.compile(r"<title>(.*?)(?: - [^-]*)?</title>", re.S)
ARTICLE = re.compile(r"<article class=\"md-content__inner.*?</article>", re.S)
TITLE_WEIGHT = 10
"""How much more a word of the title counts than one of the text; headings count 7 to 2."""
SIGNPOST = 'class="wl-signpost"'
"""Marks a page that leads to others: it must not push away the pages that it names."""
SIGNPOST_WEIGHTS = {
    "<dt><code>": 8,
    "<h2 id": 1,
    "<h3 id": 0.5,
    "<dd>": 0.2,
    "<td>": 0.2,
    "<li>": 0.2,
}
"""There a program's own words count as much as a heading, what explains them little."""
NOTEBOOK = 'class="wl-output"'
"""Marks a notebook: it repeats what the page about its topic explains, which comes first."""
NOTEBOOK_WEIGHTS = {"<h2 id": 0.5, "<p>": 0.2, "<li>": 0.2}
CONFIG = IndexConfig(
    root_selector=".md-content__inner",
    exclude_selectors=[".headerlink", ".wl-recording", ".wl-output", "worker-lab"],
    force_language="ja",
    logfile=str(ROOT / ".cache" / "pagefind.log"),
)


def with_title(page: str) -> str:
    """The page with its title behind the first heading, which says something else."""
    found = TITLE.search(page)
    if not found or "</h1>" not in page:
        return page
    weight = 1 if NOTEBOOK in page else TITLE_WEIGHT
    words = f'<p data-pagefind-weight="{weight}">{found[1]}</p>'
    return page.replace("</h1>", f"</h1>{words}", 1)


def weighted(page: str) -> str:
    """A signpost or a notebook with the weights of its parts; any other page as it is."""
    if NOTEBOOK in page:
        return _weigh(page, NOTEBOOK_WEIGHTS)
    head, mark, rest = page.partition(SIGNPOST)
    return head + mark + _weigh(rest, SIGNPOST_WEIGHTS if mark else {})


def _weigh(page: str, weights: dict[str, float]) -> str:
    for start, weight in weights.items():
        tag, others = re.fullmatch(r"(<\w+)(.*)", start).groups()  # type: ignore[union-attr]
        page = page.replace(start, f'{tag} data-pagefind-weight="{weight}"{others}')
    return page


def katakana(page: str) -> set[str]:
    """Words of katakana that stand alone somewhere in the page's text, at least two long."""
    article = ARTICLE.search(page)
    text = html.unescape(re.sub(r"<[^>]+>", " ", article[0])) if article else ""
    return set(re.findall(r"[ァ-ヴー]{2,}", text))


def pages() -> Iterator[Path]:
    """Every page of the site; without one there is nothing to index."""
    found = sorted(SITE.rglob("index.html"))
    if not found:
        raise SystemExit(f"{SITE} にページがありません。make site を実行してください。")
    yield from found


async def written(deadline: float = 60.0) -> None:
    """Wait until no file of the index is empty: Pagefind answers before it has written them.

    Raises:
        SystemExit: One is still empty at the deadline.
    """
    end = time.monotonic() + deadline
    while empty := [path for path in INDEX.rglob("*.*") if not path.stat().st_size]:
        if time.monotonic() > end:
            raise SystemExit(f"検索の索引を書き終えられませんでした: {empty[0].name}")
        await asyncio.sleep(0.05)


async def make() -> None:
    """Index every page and write the result."""
    words: set[str] = set()
    titles: dict[str, str] = {}
    async with PagefindService() as service:
        index = await service.create_index(CONFIG)
        for path in pages():
            text = path.read_text(encoding="utf-8")
            words |= katakana(text)
            if (found := TITLE.search(text)) and path.parent != SITE:
                title = unicodedata.normalize("NFKC", html.unescape(found[1]))
                titles[title.strip().lower()] = f"/{path.parent.relative_to(SITE)}/"
            await index.add_html_file(
                content=weighted(with_title(text)),
                source_path=path.relative_to(SITE).as_posix(),
            )
        await index.write_files(str(INDEX))
        await written()
    for name, data in (("katakana", sorted(words)), ("titles", titles)):
        listed = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        (INDEX / f"{name}.json").write_text(listed, encoding="utf-8")


if __name__ == "__main__":
    shutil.rmtree(INDEX, ignore_errors=True)
    asyncio.run(make())
    shutil.copytree(INDEX, SITE / "assets" / "search" / "index", dirs_exist_ok=True)
