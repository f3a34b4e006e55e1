"""What every notebook has, as it lies in git; `make test-notebooks` executes them."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from workerlab.catalog import ROOT, VARIANTS, topics

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    loaded = json.loads(path.read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def cells(path: Path, kind: str) -> dict[str, str]:
    """The sources of the cells of one kind, by their ids."""
    return {
        cell["id"]: "".join(cell["source"])
        for cell in read(path)["cells"]
        if cell["cell_type"] == kind
    }


def test_there_are_eight_notebooks() -> None:
    """The list is not empty by mistake."""
    assert len(NOTEBOOKS) == 8


@each
def test_it_is_stored_without_outputs(path: Path) -> None:
    """No output, no execution count, no metadata of one person's editor; a valid file."""
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), cell["id"]
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert set(notebook["metadata"]["language_info"]) == {"name"}
    text = json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"
    assert path.read_text("utf-8") == text


@each
def test_it_asks_first_and_ends_with_things_to_change(path: Path) -> None:
    """A question, a prediction in code, three knobs, and a last cell that stops all servers."""
    words, code = cells(path, "markdown"), cells(path, "code")
    first, *_, last = read(path)["cells"]
    assert first["id"] == "title"
    assert words["title"].startswith("# ")
    assert "でしょうか。" in words["title"]
    assert words["predict"].startswith("## 予想を書く")
    assert re.search(r"^predict\w+ = ", "\n".join(code.values()), re.MULTILINE)
    assert len(re.findall(r"^\d\. ", words["try"], re.MULTILINE)) == 3
    assert (last["id"], "".join(last["source"])) == ("close", "await lab.close()")


@each
def test_it_asserts_what_it_says(path: Path) -> None:
    """The numbers of the prose stand in assertions; nothing compares milliseconds."""
    code = "\n".join(cells(path, "code").values())
    assert code.count("assert ") >= 3
    assert "asyncio.run" not in code


@each
def test_headings_have_cells_of_their_own(path: Path) -> None:
    """The site takes a heading's id from its cell: one heading, at the beginning."""
    for ident, text in cells(path, "markdown").items():
        headings = re.findall(r"^#+ ", text, re.MULTILINE)
        assert len(headings) <= 1, ident
        assert not headings or text.startswith("#"), ident
        assert re.fullmatch(r"[a-z][a-z-]*", ident)


@each
def test_links_lead_to_pages(path: Path) -> None:
    """Links work in JupyterLab, where they are files; the site rewrites them."""
    targets = re.findall(r"\]\(([^)]+)\)", "\n".join(cells(path, "markdown").values()))
    assert targets
    for target in targets:
        assert target.startswith("../docs/")
        assert (path.parent / target).is_file(), target


@each
def test_experiments_and_versions_exist(path: Path) -> None:
    """Every topic, version and drill that code or prose names is there."""
    known = {topic.slug: topic for topic in topics()}
    code, words = cells(path, "code"), cells(path, "markdown")
    snippets = [*code.values(), *re.findall(r"`(lab\.run\([^`]+\))`", words["try"])]
    for call in (node for snippet in snippets for node in ast.walk(ast.parse(snippet))):
        if not (isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "run"):
            continue
        topic = known[ast.literal_eval(call.args[0])]
        if isinstance(call.args[1], ast.Constant):
            names = {*VARIANTS, *(fake.name for fake in topic.fakes)}
            assert call.args[1].value in names
        for option in call.keywords:
            if option.arg == "drill":
                assert ast.literal_eval(option.value) in topic.drills
