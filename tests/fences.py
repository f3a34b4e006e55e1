"""Find every fenced block of a Markdown file, whatever its form, and know what runs it.

`pytest-examples` sees only blocks that begin with ```` ```py ```` (0.0.18): it passes over
```` ``` { .python } ````, ``~~~``, quoted and nested blocks in silence. This collector follows
the CommonMark rules for fences, so that a block without a runner is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OPENING = re.compile(
    r"^(?P<prefix>(?:[ \t]|>|[-*+][ \t]|\d+[.)][ \t])*)(?P<mark>`{3,}|~{3,})(?P<info>.*)$"
)
ATTRIBUTE = re.compile(r"(?P<key>[\w-]+)=\"(?P<value>[^\"]*)\"")
INCLUDE = re.compile(r"^--8<-- \"(?P<path>[^\":]+)(?::(?P<region>[\w-]+))?\"$")


@dataclass(frozen=True)
class Fence:
    """One fenced block, with the indentation and quote marks of its container removed."""

    path: Path
    line: int
    """Of the opening fence, from 1."""
    language: str
    """Lower case, without dot and braces; empty when there is none."""
    info: str
    body: str

    @property
    def attributes(self) -> dict[str, str]:
        """``key="value"`` pairs of the info string."""
        return {m["key"]: m["value"] for m in ATTRIBUTE.finditer(self.info)}

    @property
    def include(self) -> re.Match[str] | None:
        """The single ``--8<-- "path:region"`` line that the block consists of, if it does."""
        return INCLUDE.match(self.body.strip())

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}:{self.language or '-'}"


def included_pages(path: Path, folder: Path) -> list[Path]:
    """The Markdown files that *path* takes in whole, below *folder*: their blocks show too."""
    names = re.findall(r"^--8<-- \"([^\"]+\.md)\"$", path.read_text("utf-8"), re.MULTILINE)
    return [folder / name for name in names]


def find(path: Path) -> list[Fence]:
    """All fenced blocks of a file, also those inside a longer fence's text.

    Raises:
        ValueError: A fence is never closed: everything after it would be code.
    """
    return list(_scan(path, path.read_text(encoding="utf-8").splitlines(), 0))


def _scan(path: Path, lines: list[str], offset: int) -> Iterator[Fence]:
    index = 0
    while index < len(lines):
        opening = OPENING.match(lines[index])
        if not opening or (opening["mark"][0] == "`" and "`" in opening["info"]):
            index += 1
            continue
        end = _closing(lines, index + 1, opening["mark"])
        if end is None:
            raise ValueError(f"{path}:{offset + index + 1}: this fence is never closed")
        body = [_strip(line, opening["prefix"]) for line in lines[index + 1 : end]]
        yield Fence(
            path=path,
            line=offset + index + 1,
            language=_language(opening["info"]),
            info=opening["info"].strip(),
            body="\n".join(body),
        )
        yield from _scan(path, body, offset + index + 1)
        index = end + 1


def _closing(lines: list[str], start: int, mark: str) -> int | None:
    pattern = re.compile(rf"^[ \t>]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
    return next((i for i in range(start, len(lines)) if pattern.match(lines[i])), None)


def _strip(line: str, prefix: str) -> str:
    """Remove what the container puts before each line; a list marker counts as blanks."""
    width = len(prefix)
    head, rest = line[:width], line[width:]
    return rest if not head.strip(" \t>") else line.lstrip()


def _language(info: str) -> str:
    match = re.match(r"\s*(?:\{\s*\.?)?\s*\.?(?P<name>[\w+-]*)", info)
    return match["name"].lower() if match else ""
