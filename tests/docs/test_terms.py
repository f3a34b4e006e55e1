"""The glossary's words on the pages: which are marked, where, and with what."""

import html
import re
from pathlib import Path

import markdown
import pytest

from workerlab import markdown_terms
from workerlab.catalog import ROOT

GLOSSARY = """
ロック（lock）
:   1 つだけを通す`仕組み`です。
    **外れる**まで待ちます。

分散ロック（distributed lock）
:   マシンの間の[ロック](x.md)です。

SIGKILL と SIGTERM
:   シグナルです。

フェイルクローズとフェイルオープン（fail closed / fail open）
:   断ることと、通すことです。

ワーカープロセス（worker process）
:   プロセスです。短く「ワーカー」とも書きます。

エンジン（SQLAlchemy の Engine）
:   持ち主です。

セッション（SQLAlchemy の Session）
:   入れ物です。

セッション（session）
:   覚えておくことです。

競合（race condition）
:   順序によることです。

追い出し（eviction）
:   捨てることです。

記録
:   書き留めたものです。
"""
MARK = re.compile(r'<a class="wl-term" href="([^"]+)" title="([^"]+)">([^<]+)</a>')


@pytest.fixture
def render(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Markdown to HTML with the site's extensions, and the glossary above."""
    path = tmp_path / "glossary.md"
    path.write_text(GLOSSARY, encoding="utf-8")
    monkeypatch.setattr(markdown_terms, "GLOSSARY", path)
    names = ["workerlab.markdown_ja", "workerlab.markdown_terms", "attr_list", "def_list"]
    names += ["tables", "md_in_html", "admonition", "pymdownx.details", "pymdownx.superfences"]
    return lambda text: markdown.markdown(text, extensions=names)


def marked(page: str) -> list[str]:
    """The words with a mark, in order."""
    return [form for _, _, form in MARK.findall(page)]


def test_first_use_links_to_its_entry_with_its_text(render) -> None:  # type: ignore[no-untyped-def]
    """Once, with the explanation as plain text; the text of the page is what it was."""
    page = render("この ロックは、ロックです。\nワーカーも、ワーカープロセスです。")
    assert MARK.findall(page) == [
        (
            "/glossary.md#term-lock",
            "ロック（lock）：1 つだけを通す仕組みです。外れるまで待ちます。",
            "ロック",
        ),
        ("/glossary.md#term-worker-process", MARK.findall(page)[1][1], "ワーカー"),
    ]
    assert (
        re.sub("<[^>]+>", "", page)
        == "この ロックは、ロックです。ワーカーも、ワーカープロセスです。"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ブロックして、ロックファイルを読む。", []),
        ("行ロックも、ロック機構も、別の言葉です。", []),
        ("分散ロックと、ロックです。", ["分散ロック", "ロック"]),
        ("競合他社は無競合です。競合します。", ["競合"]),
        ("値を追い出します。追い出した値です。追い出しを防ぎます。", ["追い出し"]),
        ("MYSIGKILL、SIGKILL_2、SIGTERM です。", ["SIGTERM"]),
        ("フェイルオープンにします。", ["フェイルオープン"]),
        ("エンジンもセッションも、記録も、意味が 1 つではありません。", []),
    ],
)
def test_whole_words_with_one_meaning_are_marked(render, text: str, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    """The longest first; never inside a longer word; nothing that has two meanings."""
    assert marked(render(text)) == words


@pytest.mark.parametrize(
    "text",
    [
        "# ロック",
        "`ロック`です。",
        "```\nロック\n```",
        "[ロックのページ](x.md)です。",
        "**ロック**は太字です。",
        "ロック\n:   言葉です。",
        "| ロック |\n| --- |\n| ロック |",
        '??? note "ロック"\n\n    畳んだロックです。',
        '!!! note "ロック"\n\n    囲みです。',
    ],
)
def test_headings_code_links_and_folded_text_are_left_alone(render, text: str) -> None:  # type: ignore[no-untyped-def]
    """There no mark stands; the next use in the text has it."""
    page = render(f"{text}\n\n<!-- -->\n\n次のロックです。")
    assert page.count("wl-term") == 1
    assert "次の<a" in page


def test_text_between_other_marks_is_reached(render) -> None:  # type: ignore[no-untyped-def]
    """Before, inside and behind emphasis, in lists and boxes; and quotes stay quotes."""
    page = render("- _SIGTERM_ のロック\n\n!!! note\n\n    競合 と `x` と分散ロック")
    assert marked(page) == ["SIGTERM", "ロック", "競合", "分散ロック"]
    assert page.count("<li>") == page.count("</li>") == 1


def test_glossary_itself_has_ids_and_no_marks(render) -> None:  # type: ignore[no-untyped-def]
    """Of the Latin words, so that they outlive a change of the Japanese."""
    page = render(f"# 用語集 {{ #glossary }}\n{GLOSSARY}")
    assert "wl-term" not in page
    assert re.findall(r'<dt id="(.+?)">', page) == [
        *("term-lock", "term-distributed-lock", "term-sigkill-sigterm"),
        *("term-fail-closed-fail-open", "term-worker-process", "term-sqlalchemy-engine"),
        *("term-sqlalchemy-session", "term-session", "term-race-condition", "term-eviction"),
        "term-記録",
    ]


def test_every_entry_of_our_glossary_is_read() -> None:
    """No entry is lost to a missing empty line; none has the id of another."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    entries = markdown_terms.terms(text)
    assert len(entries) == len(re.findall(r"^:   ", text, re.M)) > 90
    assert len({entry.ident for entry in entries}) == len(entries)
    assert all(entry.text.endswith("。") for entry in entries)


def test_marks_of_the_site_lead_to_entries(site: Path) -> None:
    """On every page each mark's link is the entry's that it quotes; no word twice on a page."""
    shown = (site / "glossary" / "index.html").read_text(encoding="utf-8")
    names = dict(re.findall(r'<dt id="(.+?)">(.+?)</dt>', shown))
    everywhere: set[str] = set()
    for path in site.rglob("index.html"):
        found = MARK.findall(path.read_text(encoding="utf-8"))
        idents = [
            href.partition("/glossary/#")[2] for href, _, _ in found if path.parent != site
        ]
        assert len(idents) == len(set(idents)), path
        for href, title, _ in found:
            assert title.startswith(f"{names[href.partition('#')[2]]}："), html.unescape(title)
        everywhere |= set(idents)
    assert len(everywhere) > 50
