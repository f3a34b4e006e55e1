"""Write ``llms.txt``: every page of the navigation with its description, for programs.

The format is that of llmstxt.org: a title, a summary, and lists of links.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.utils.meta import get_data
from mkdocs.utils.yaml import yaml_load

ROOT = Path(__file__).resolve().parents[1]


def address(page: str) -> str:
    """Where a page stands on the site; relative when the site doesn't know its own address."""
    return os.environ.get("SITE_URL", "") + re.sub(
        r"(^|/)index\.md$|\.md$", r"\1/", page
    ).lstrip("/")


def line(page: str) -> str:
    """One page: its title, its address, and what it is about."""
    _, about = get_data((ROOT / "docs" / page).read_text(encoding="utf-8"))
    return f"- [{about['title']}]({address(page) or './'}): {about['description']}"


def sections(nav: list[dict[str, Any]]) -> Iterator[str]:
    """The navigation's chapters, each with its pages."""
    for entry in nav:
        for title, inside in entry.items():
            pages = (
                [inside] if isinstance(inside, str) else [p for e in inside for p in e.values()]
            )
            yield "\n".join([f"## {title}", "", *map(line, pages)])


def main() -> None:
    """Read mkdocs.yml and write the file."""
    config = yaml_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    head = f"# {config['site_name']}\n\n> {config['site_description']}"
    text = "\n\n".join([head, *sections(config["nav"])]) + "\n"
    (ROOT / "site" / "llms.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
