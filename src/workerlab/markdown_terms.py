"""A Python-Markdown extension: the glossary's words, explained where a page first uses them.

The first use of a term in a page's text becomes a link to its entry; the entry's text is the
link's ``title``. That needs no script and costs no request; ``docs/assets/site/terms.js`` shows
the same text for keyboards and touch screens, too. Entries get an ``id`` to link to.

Material's ``abbr`` marks every use, and finds no Japanese word: it looks for spaces around it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor

GLOSSARY = Path(__file__).resolve().parents[2] / "docs" / "glossary.md"
PAGE = "/glossary.md"
"""Its address for MkDocs (``absolute_links: relative_to_docs``)."""
ENTRY = re.compile(r"^(\S.*)\n((?:    .+\n|:   .+\n)+)", re.M)
ATTRIBUTES = re.compile(r"\s*\{[^{}]*\}$")
EVERYDAY = {"記録"}
"""Terms that are ordinary words as well: a mark would explain what isn't meant."""
AND = re.compile(r"(?<=\w) と (?=\w)|(?<=[ァ-ヴー])と(?=[ァ-ヴー])")
"""One entry may explain two words."""
ALSO = re.compile(r"「([^」]+)」とも書きます")
"""How an entry names a shorter form."""

CONTENT = r"一-龥々ァ-ヴー・A-Za-z0-9_"
"""A term beside one of these is part of a longer word: ロック in ブロック, 競合 in 競合他社."""
KANA = r"ぁ-ん"
PARTICLE = r"[をがはのにでともやへ]"
MARKED_IN = {"p", "li", "dd"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6", "dt", "strong", "figcaption"}
FOLDED = {"details"}
UNMARKED = {"a", "code", "pre", "table", *HEADINGS, *FOLDED}
UNMARKED_CLASSES = {"admonition-title", "tabbed-set"}
"""Where a link would be wrong, and what is folded: there nobody sees the first use."""


@dataclass(frozen=True)
class Term:
    """One entry of the glossary."""

    name: str
    """As it stands there, with the English in brackets."""
    text: str
    """The explanation without its markup."""

    @property
    def ident(self) -> str:
        """The entry's id: of its Latin words, which don't change when the Japanese does."""
        words = self._words(self.name.partition("（")[2]) or self._words(self.name)
        return "term-" + ("-".join(words).lower() or self.name)

    @property
    def forms(self) -> list[str]:
        """What a text may call it; nothing for names that hold in one library only."""
        name, _, bracket = self.name.rstrip("）").partition("（")
        if "の" in bracket or name in EVERYDAY:
            return []
        return [*AND.split(name), *ALSO.findall(self.text)]

    @staticmethod
    def _words(text: str) -> list[str]:
        return re.findall(r"[A-Za-z0-9]+", text)


def terms(glossary: str) -> list[Term]:
    """Every entry, in order."""
    return [
        Term(ATTRIBUTES.sub("", name), _plain(text)) for name, text in ENTRY.findall(glossary)
    ]


def _plain(definition: str) -> str:
    joined = "".join(line[4:] for line in definition.splitlines())
    joined = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", joined)
    return joined.replace("`", "").replace("**", "")


def forms(entries: list[Term]) -> dict[str, Term]:
    """Each form with its entry; without those that two entries share."""
    found = [(form, entry) for entry in entries for form in entry.forms]
    names = Counter(entry.name.partition("（")[0] for entry in entries)
    names |= Counter(form for form, _ in found)
    return {form: entry for form, entry in found if names[form] == 1}


def pattern(known: dict[str, Term]) -> re.Pattern[str]:
    """Matches a whole form, the longest first, but not what Python-Markdown put aside."""
    return re.compile(
        "\x02[^\x03]*\x03|"
        rf"(?<![{CONTENT}])(?P<form>"
        + "|".join(_form(form) for form in sorted(known, key=len, reverse=True))
        + rf")(?![{CONTENT}])"
    )


def _form(form: str) -> str:
    """What ends in kana is a noun only before a particle: 追い出しを, not 追い出します."""
    ends_in_kana = re.search(rf"[{KANA}]$", form)
    return re.escape(form) + (rf"(?=$|[^{KANA}]|{PARTICLE})" if ends_in_kana else "")


class MarkTerms(Treeprocessor):
    """Gives the glossary's entries their ids, and other pages their links."""

    def run(self, root: Element) -> None:
        """Called by Python-Markdown for each page."""
        entries = terms(GLOSSARY.read_text(encoding="utf-8"))
        heading = root.find(".//h1")
        if heading is not None and heading.get("id") == "glossary":
            _identify(root, entries)
            return
        known, seen = forms(entries), set[Term]()
        look = pattern(known)
        for text in _texts(root, marked=False):
            text.mark(look, known, seen)


def _identify(root: Element, entries: list[Term]) -> None:
    for place, entry in zip(root.iter("dt"), entries, strict=True):
        place.set("id", entry.ident)


@dataclass
class _Text:
    """A piece of text in the tree: of *parent*, behind its child *after* (or before any)."""

    parent: Element
    after: Element | None

    def mark(self, look: re.Pattern[str], known: dict[str, Term], seen: set[Term]) -> None:
        """Put a link around each term that was not seen yet."""
        text = (self.parent.text if self.after is None else self.after.tail) or ""
        place = 0 if self.after is None else list(self.parent).index(self.after) + 1
        start, last = 0, self.after
        for found in look.finditer(text):
            entry = known.get(found["form"] or "")
            if entry is None or entry in seen:
                continue
            seen.add(entry)
            self._put(last, text[start : found.start()])
            last = _link(entry, found["form"])
            self.parent.insert(place, last)
            start, place = found.end(), place + 1
        if last is not self.after:
            self._put(last, text[start:])

    def _put(self, after: Element | None, text: str) -> None:
        if after is None:
            self.parent.text = text
        else:
            after.tail = text


def _link(entry: Term, form: str) -> Element:
    link = Element("a", {"class": "wl-term", "href": f"{PAGE}#{entry.ident}"})
    link.set("title", f"{entry.name}：{entry.text}")
    link.text = form
    return link


def _texts(element: Element, *, marked: bool) -> Iterator[_Text]:
    """The pieces of text in which terms are marked, in the order of reading."""
    classes = set((element.get("class") or "").split())
    if element.tag in UNMARKED or classes & UNMARKED_CLASSES:
        return
    marked = marked or element.tag in MARKED_IN
    if marked:
        yield _Text(element, None)
    for child in list(element):
        yield from _texts(child, marked=marked)
        if marked:
            yield _Text(element, child)


class Terms(Extension):
    """Registers `MarkTerms`; after attributes (8), before MkDocs takes down the ids (5)."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Called by Python-Markdown."""
        md.treeprocessors.register(MarkTerms(md), "terms", 7)


def makeExtension(**options: object) -> Terms:
    """Entry point that ``markdown_extensions`` looks for."""
    return Terms(**options)
