"""Cut the Japanese texts out of pages, examples and scripts, for textlint.

Each source becomes a Markdown file of as many lines: the text of a line stays on its line, all
else is empty. So what textlint says of a line holds for the source, too.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCOPE = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/**/*.md",
    "examples/**/*.py",
    "docs/assets/lab/*.js",
    "docs/assets/search/**/*.js",
    "docs/assets/site/*.js",
)
BUILT = ("docs/assets/search/index/", "docs/assets/lab/runtime/", "docs/assets/lab/vendor/")
JAPANESE = re.compile(r"[ぁ-んァ-ヴ一-龥]")

FENCE = re.compile(r"(`{3,}|~{3,})(.*)")
TITLE = re.compile(r'title="([^"]*)"')
BLOCK = re.compile(r'(?:\?\?\?\+?|!!!|===)(?: [\w-]+)*(?: "(.*)")?$')
FRONT_MATTER = re.compile(r"(?:title|description): (.+)")
HEADING_ID = re.compile(r"\s*\{ [#.:][^}]*\}\s*$")
SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)
LABEL = re.compile(r"^(?:症状|誘惑|破綻): ")
COMMENT = re.compile(r"(?:^|\s)#\s+(\S.*)$")
EMBEDDED = re.compile(r"(?:--|#) (.*)$")
INSERTED = re.compile(r"\$\{(?:[^{}]|\{[^{}]*\})*\}")
JS_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`')


def sources(root: Path = ROOT) -> list[Path]:
    """All files in scope that hold Japanese, except what the build puts between them."""
    found = {path for pattern in SCOPE for path in root.glob(pattern) if path.is_file()}
    own = (p for p in found if not p.relative_to(root).as_posix().startswith(BUILT))
    return sorted(path for path in own if JAPANESE.search(path.read_text("utf-8")))


def texts(path: Path) -> str:
    """The Markdown that textlint reads in place of the source."""
    cut = {".md": page, ".py": python, ".js": javascript}[path.suffix]
    return cut(path.read_text("utf-8"))


def join(count: int, items: Iterable[tuple[int, str]]) -> str:
    """One list item for each text, on the line (from 1) where it stands."""
    lines = [""] * count
    for number, item in items:
        if JAPANESE.search(item):
            lines[number - 1] += ("。" if lines[number - 1] else "- ") + item.replace("\n", " ")
    return "\n".join(lines) + "\n"


def page(source: str) -> str:
    """A page without code, tags and the marks of Python-Markdown that textlint doesn't know."""
    source = SVG.sub(lambda found: "\n" * found[0].count("\n"), source)
    lines: list[str] = []
    fence, comments, front = "", False, False
    for number, line in enumerate(source.splitlines()):
        text = line.strip()
        if text == "---" and (front or number == 0):
            front = not front
            lines.append("")
        elif front:
            found = FRONT_MATTER.match(text)
            lines.append(f"- {found[1]}" if found else "")
        elif fence:
            found = COMMENT.search(text) if comments else None
            lines.append(f"- {found[1]}" if found and JAPANESE.search(found[1]) else "")
            fence = "" if text.startswith(fence) and not text.strip(fence[0]) else fence
        elif found := FENCE.match(text):
            fence, comments = found[1], found[2].startswith(("python", "bash"))
            title = TITLE.search(found[2])
            lines.append(f"- {title[1]}" if title else "")
        elif text.startswith(":   "):  # a definition: it and its term as list items
            lines[-1] = lines[-1] and "- " + lines[-1].removeprefix("- ")
            lines.append(prose(f"- {text[4:]}"))
        else:
            lines.append(prose(text))
    return "\n".join(lines) + "\n"


def prose(text: str) -> str:
    """One line of a page, outside code."""
    if text.startswith('--8<-- "'):
        return ""
    if found := BLOCK.match(text):
        return f"- {found[1]}" if found[1] else ""
    text = HEADING_ID.sub("", text)
    if text.startswith("<"):
        text = re.sub(r"<[^>]*>", "", text)
    return re.sub(r"\{ [.#:][^}]*\}", "", text)


def python(source: str) -> str:
    """Docstrings as paragraphs; comments and all other strings as list items."""
    tree = ast.parse(source)
    docs = list(docstrings(tree))
    lines = join(source.count("\n"), [*strings(tree, docs), *comments(source)]).splitlines()
    for node in docs:
        if JAPANESE.search(str(node.value)):
            for number, text in enumerate(str(node.value).splitlines(), node.lineno):
                lines[number - 1] = LABEL.sub("", text.strip())
    return "\n".join(lines) + "\n"


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every string that is a statement: docstrings, and the texts below constants."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str()) as text):
                yield text


def strings(tree: ast.AST, docs: list[ast.Constant]) -> Iterator[tuple[int, str]]:
    """All other strings: what is in braces stays as code; see `embedded`."""
    parts = [p for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for p in n.values]
    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr():
                yield node.lineno, ast.unparse(node)[2:-1]
            case ast.Constant(value=str() as value) if node not in docs and node not in parts:
                for number, text in enumerate(value.splitlines(), node.lineno):
                    yield number, embedded(text, value) if "\n" in value else text


def embedded(line: str, document: str) -> str:
    """Of a line of HTML, what is read; of other code, its comment."""
    if document.startswith("<"):
        return re.sub(r"<[^>]*>|\{+[^{}]*\}+", "", line)
    found = EMBEDDED.search(line)
    return found[1] if found else ""


def comments(source: str) -> Iterator[tuple[int, str]]:
    """The comments of a Python source."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def javascript(source: str) -> str:
    """Every string of a script, see `inserted`; its comments are English."""
    return join(
        source.count("\n"),
        (
            (number, inserted(found[1] or found[2] or ""))
            for number, line in enumerate(source.splitlines(), 1)
            if not line.lstrip().startswith(("//", "*", "/*"))
            for found in JS_STRING.finditer(line)
        ),
    )


def inserted(template: str) -> str:
    """What a script inserts: a number, or a word where it touches one."""

    def word(found: re.Match[str]) -> str:
        around = template[: found.start()][-1:] + template[found.end() :][:1]
        return "値" if JAPANESE.search(around) else "1"

    return INSERTED.sub(word, template.replace("}${", "}、${"))
