"""Pages of notebooks: what was executed is what is shown, and it weighs little."""

import gzip
import importlib.util
import json
import re
from pathlib import Path

import pytest

from workerlab.catalog import ROOT

spec = importlib.util.spec_from_file_location("notebooks_tool", ROOT / "tools" / "notebooks.py")
assert spec is not None
assert spec.loader is not None
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)
each = pytest.mark.parametrize("name", tool.names())
MORE = 30_000
"""Bytes of gzipped HTML that a notebook's page may weigh more than a plain one."""


def recorded(name: str) -> list[Path]:
    return sorted((tool.RECORDED / name).glob("*.txt"))


@each
def test_page_is_made_of_its_notebook_and_the_recording(name: str) -> None:
    """Nobody edits a page by hand, and nobody changes a notebook without recording it anew."""
    page = tool.PAGES / f"{name}.md"
    assert page.read_text(encoding="utf-8") == tool.page(name), f"tools/notebooks.py {name}"
    download = page.with_suffix(".ipynb")
    assert download.resolve() == (ROOT / "notebooks" / f"{name}.ipynb").resolve()


@each
def test_recording_shows_results_and_no_machine(name: str) -> None:
    """Outputs belong to cells, show no error, no style, and no folder of who recorded them."""
    shown_cells = {path.stem: path.read_text("utf-8") for path in recorded(name)}
    notebook = json.loads((tool.NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    code = {cell["id"] for cell in notebook["cells"] if cell["cell_type"] == "code"}
    assert set(shown_cells) <= code
    shown = "\n".join(shown_cells.values())
    assert "<svg" in shown
    for forbidden in ("Traceback", " style=", "<style", "<script", "/tmp/", "/home/", "/root/"):
        assert forbidden not in shown, forbidden
    ids = re.findall(r' id="([^"]+)"', shown)
    assert len(ids) == len(set(ids))


def test_cells_offer_what_a_browser_has() -> None:
    """Buttons where a page can measure; a reason where a cell asks for more; nothing hidden."""
    pages = {name: (tool.PAGES / f"{name}.md").read_text("utf-8") for name in tool.names()}
    playing = {name for name, page in pages.items() if 'class="wl-cell"' in page}
    assert playing == {"cache_and_stampede", "faults", "separate_memories"}
    for name, page in pages.items():
        assert ("このページの中でも動きます" in page) == (name in playing)
        if name not in {"cache_and_stampede", "separate_memories"}:
            assert 'class="wl-cell-note">ページの中では動きません。このセルには、' in page
    cells = {cell.ident: cell for cell in tool.lab_cells.cells("faults")}
    assert cells["measure-redis"].needs == ("start",)
    assert cells["measure-kill"].lacking == ("共有のファイル",)
    assert not cells["check-kill"].plays  # it uses what the cell above would have measured


def test_cost_of_the_first_press_is_told() -> None:
    """The number of megabytes on the pages is that of the runtime, once it was built."""
    runtime = tool.lab_cells.lab_topics.runtime_bytes()
    if runtime is None:
        pytest.skip("実行環境がありません（make lab が組み立てます）")
    assert abs(runtime / 1e6 - tool.MEGABYTES) < 1


def test_page_gets_what_its_cells_name() -> None:
    """The fakes that the cells play are there, others are not; the modules compile."""
    built = tool.lab_cells.built("cache_and_stampede")
    assert set(built["topics"]) == {"cache_stampede"}
    assert set(built["topics"]["cache_stampede"]["versions"]) == {"bad", "good", "asyncio_lock"}
    assert built["topics"]["cache_stampede"]["plans"]["holder_killed"]["requests"] > 0
    assert {"lab_cells.py", "stage/notebook.py", "stage/plot.py", "stage/results.py"} == set(
        built["files"]
    )
    for path, source in built["files"].items():
        compile(source, path, "exec")


def test_failed_cell_is_no_page() -> None:
    """An error among the outputs stops the tool, instead of being shown."""
    with pytest.raises(ValueError, match="boom"):
        tool.html({"output_type": "error", "ename": "ValueError", "evalue": "boom"})


def test_text_output_is_escaped() -> None:
    """What a cell prints stands in the page as it is."""
    assert tool.html({"output_type": "stream", "text": "a < b\n"}) == "<pre>a &lt; b</pre>"


@each
def test_page_weighs_little(name: str, site: Path) -> None:
    """Gzipped, it is at most 30 KB heavier than a short page."""
    plain = gzip.compress((site / "environment" / "index.html").read_bytes())
    page = gzip.compress((site / "notebooks" / name / "index.html").read_bytes())
    assert len(page) - len(plain) <= MORE
