"""A Python-Markdown extension for pages with one sentence per line.

HTML turns the line break after 「。」 into a space, which Japanese does not have there.
Browsers are allowed to drop it (CSS Text 3, segment break transformation); Chromium 156
does not.
"""

from __future__ import annotations

import re

from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

AFTER = "。、）」』："
"""A line that ends in one of these runs on into the next without a space."""


class JoinLines(InlineProcessor):
    """Drop the line break after Japanese punctuation, outside code."""

    def handleMatch(  # type: ignore[override]
        self, match: re.Match[str], data: str
    ) -> tuple[str, int, int]:
        """Replace the break by nothing."""
        return "", match.start(0), match.end(0)


class JapaneseLines(Extension):
    """Registers `JoinLines`; after code spans (190), before links and emphasis."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Called by Python-Markdown."""
        md.inlinePatterns.register(JoinLines(rf"(?<=[{AFTER}])\n[ ]*"), "japanese_lines", 185)


def makeExtension(**options: object) -> JapaneseLines:
    """Entry point that ``markdown_extensions`` looks for."""
    return JapaneseLines(**options)
