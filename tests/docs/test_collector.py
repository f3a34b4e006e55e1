"""Our collector finds the blocks that pytest-examples passes over in silence."""

from pathlib import Path

import pytest

import fences

FORMS = {
    "plain": "```python\nx = 1\n```",
    "brace with a space": "``` { .python .annotate }\nx = 1\n```",
    "brace": "```{.python}\nx = 1\n```",
    "tilde": "~~~python\nx = 1\n~~~",
    "tab content": '=== "tab"\n\n    ```python\n    x = 1\n    ```',
    "quote": "> ```python\n> x = 1\n> ```",
    "list": "- text\n\n    ```python\n    x = 1\n    ```",
    "list on the line": "- ```python\n  x = 1\n  ```",
    "title": '```python title="a.py"\nx = 1\n```',
    "upper case": "```Python\nx = 1\n```",
    "longer fence": "`````python\nx = 1\n`````",
}


def collect(tmp_path: Path, text: str) -> list[fences.Fence]:
    page = tmp_path / "page.md"
    page.write_text(f"text\n\n{text}\n\nmore\n", encoding="utf-8")
    return fences.find(page)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found(tmp_path: Path, form: str) -> None:
    """One Python block, dedented, whatever it looks like."""
    (fence,) = collect(tmp_path, FORMS[form])
    assert (fence.language, fence.body) == ("python", "x = 1")


def test_nested_block_is_found_too(tmp_path: Path) -> None:
    """A block shown inside a longer fence can be copied as well."""
    found = collect(tmp_path, "````markdown\n```python\nx = 1\n```\n````")
    assert [f.language for f in found] == ["markdown", "python"]


def test_block_without_language_is_found(tmp_path: Path) -> None:
    """It has no runner, and must not vanish because of it."""
    assert [f.language for f in collect(tmp_path, "```\nx\n```")] == [""]


def test_attributes_and_includes(tmp_path: Path) -> None:
    """Title and included region are read."""
    (fence,) = collect(tmp_path, '```python title="a.py"\n--8<-- "t/bad.py:counter"\n```')
    assert fence.attributes == {"title": "a.py"}
    assert fence.include is not None
    assert fence.include.groups() == ("t/bad.py", "counter")


def test_open_fence_is_an_error(tmp_path: Path) -> None:
    """A fence without end turns the rest of the page into code."""
    with pytest.raises(ValueError, match="never closed"):
        collect(tmp_path, "```python\nx = 1")


def test_inline_code_is_no_fence(tmp_path: Path) -> None:
    """Three backticks around words in a line open nothing."""
    assert collect(tmp_path, "```inline``` text") == []
