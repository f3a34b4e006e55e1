"""Execute the notebooks, keep what they showed, and write the site's pages from both.

``python tools/notebooks.py [NAME …]`` executes each in a fresh kernel; one failing cell, and
nothing is written. The pages are a pure function of the notebook and its recorded outputs, so
a test can tell whether they still belong together. MkDocs gets plain Markdown: no plugin, no
style of its own, no request to another host.
"""

import datetime as dt
import json
import re
import shutil
import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

import lab_cells

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
PAGES = ROOT / "docs" / "notebooks"
RECORDED = ROOT / "docs" / "assets" / "recordings" / "notebooks"
TIMEOUT = 600
"""Seconds for one cell, also on a busy machine."""


def names() -> list[str]:
    """All notebooks."""
    return sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def record(name: str) -> None:
    """Execute one notebook and write what its cells showed.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed; nothing was written.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook, timeout=TIMEOUT, resources={"metadata": {"path": str(NOTEBOOKS)}}
    )
    client.execute()
    shown = {
        cell.id: "\n".join(html(output) for output in cell.outputs) + "\n"
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.outputs
    }
    write(name, dt.datetime.now(dt.UTC).date().isoformat(), shown)


def write(name: str, recorded_on: str, shown: Mapping[str, str]) -> None:
    """Replace the recording of one notebook: a fragment of HTML for each cell, and the day.

    Fragments are called ``.txt``: the site's tools take every ``.html`` for a whole page.
    """
    folder = RECORDED / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for ident, text in shown.items():
        (folder / f"{ident}.txt").write_text(text, encoding="utf-8")
    day = json.dumps({"recorded_on": recorded_on}) + "\n"
    (folder / "recorded.json").write_text(day, encoding="utf-8")


def html(output: Mapping[str, Any]) -> str:
    """One output as HTML for a page: its own, or its text as it is.

    Raises:
        ValueError: The output is an error.
    """
    if output["output_type"] == "error":
        raise ValueError(f"{output['ename']}: {output['evalue']}")
    if output["output_type"] == "stream":
        return f"<pre>{escape(output['text'].rstrip())}</pre>"
    data = output["data"]
    if "text/html" in data:
        return re.sub(r' style="[^"]*"', "", data["text/html"]).strip()
    return f"<pre>{escape(data['text/plain'].rstrip())}</pre>"


def page(name: str) -> str:
    """The Markdown of one page, from the notebook and its recorded outputs."""
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    recorded = json.loads((RECORDED / name / "recorded.json").read_text(encoding="utf-8"))
    parts = []
    code = {cell.ident: cell for cell in lab_cells.cells(name)}
    measures = lab_cells.measures(name)
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(_prose(source, cell["id"], name))
        else:
            number = list(code).index(cell["id"]) + 1
            parts.append(f'```python title="{TITLE} {number}"\n{source}\n```\n')
            shown = RECORDED / name / f"{cell['id']}.txt"
            parts += _bar(code[cell["id"]], number, measures, recorded=shown.is_file())
            parts += [_output(shown)] if shown.is_file() else []
        if cell["id"] == "title":
            parts.append(_invitation(name, recorded["recorded_on"], measures))
    title, question = _title_and_question("".join(notebook["cells"][0]["source"]))
    head = f"---\ntitle: {title}（ノートブック）\ndescription: {question}\n---\n"
    return "\n".join([head, *parts])


TITLE = "ノートブックのセル"


def _prose(source: str, ident: str, name: str) -> str:
    """A Markdown cell: its heading gets an id, its links are those of the site."""
    anchor = name.replace("_", "-") if ident == "title" else ident
    text = re.sub(r"^(#+ .*)$", rf"\1 {{ #{anchor} }}", source, count=1, flags=re.MULTILINE)
    return text.replace("](../docs/", "](../") + "\n"


def _bar(cell: lab_cells.Cell, number: int, measures: bool, *, recorded: bool) -> list[str]:
    """Where the page puts the cell's button, or why it has none.

    Args:
        measures: Whether a cell of the notebook can measure in the page.
    """
    if measures and cell.plays:
        needs = " ".join(cell.needs)
        data = f'data-cell="{cell.ident}" data-number="{number}" data-needs="{needs}"'
        return [f'<div class="wl-cell" {data}></div>\n']
    kept = "下にあるのは、記録した結果です。" if recorded else ""
    if cell.lacking:
        what = "、".join(cell.lacking)
        space = " " if what[-1].isascii() else ""
        why = f"ページの中では動きません。このセルには、{what}{space}が要ります。"
    elif measures:
        why = "ページの中では動きません。上のセルの結果を使うからです。"
    else:
        return []
    return [f'<p class="wl-cell-note">{why}{kept}</p>\n']


def _output(shown: Path) -> str:
    included = shown.relative_to(RECORDED.parent).as_posix()
    return f'<div class="wl-output" markdown="0">\n--8<-- "{included}"\n</div>\n'


MEGABYTES = 14
"""What the first press of 実行 loads, with gzip; a test compares it with what was built."""


def _invitation(name: str, recorded_on: str, measures: bool) -> str:
    in_page = (
        "    「実行」のあるセルは、このページの中でも動きます。"
        "ワーカーは、ブラウザーの中の別々の Python です。\n"
        f"    初めて押したときに、約 {MEGABYTES} MB を読み込みます。\n"
        if measures
        else ""
    )
    return (
        '!!! note "このページはノートブックです"\n\n'
        "    手元で動かすには、リポジトリのフォルダーで `make notebook` を実行し、"
        f"`{name}.ipynb` を開きます。\n"
        f"    [{name}.ipynb をダウンロード]({name}.ipynb){{ download }}して、"
        "読むこともできます。\n"
        f"    下に見える結果は、{recorded_on} に上から下まで実行した記録です。\n"
        "    件数や時間は、動かすたびに変わります。\n" + in_page
    )


def _title_and_question(source: str) -> tuple[str, str]:
    heading, _, rest = source.partition("\n")
    question = "".join(rest.strip().split("\n\n")[0].split("\n"))
    return heading.removeprefix("# "), question


def derived() -> dict[Path, str]:
    """All pages, as they should lie in ``docs/notebooks/``."""
    return {PAGES / f"{name}.md": page(name) for name in names()}


def main(chosen: list[str]) -> None:
    """Record the chosen notebooks, or all, then write every page and its download."""
    for name in chosen or names():
        print(f"{name} を実行しています…", flush=True)
        record(name)
    PAGES.mkdir(parents=True, exist_ok=True)
    for path, text in derived().items():
        path.write_text(text, encoding="utf-8")
        download = path.with_suffix(".ipynb")
        if not download.is_symlink():
            download.symlink_to(Path("../../notebooks", download.name))


if __name__ == "__main__":
    main(sys.argv[1:])
