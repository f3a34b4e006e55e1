"""Which cells of a notebook can run in its page, and what they need there.

Read from the source: a cell plays when everything that it asks of the lab is there, and every
earlier cell whose names it uses plays too. ``python tools/lab_cells.py`` writes, for each
notebook with a cell that measures in the page, ``docs/assets/cells/built/<name>.json``: the
experiments, the versions, and the modules that stand in for those of real processes.
Run it after the runtime was built: it writes down how many bytes that has.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent))

import lab_topics

from workerlab.catalog import ROOT, VARIANTS, Topic, find

NOTEBOOKS = ROOT / "notebooks"
CELLS = ROOT / "docs" / "assets" / "cells"
FOLDER = CELLS / "built"
LACKS_CALL = {
    "open": "動き続けるサーバー",
    "serve": "動き続けるサーバー",
    "cpu_seconds": "CPU 時間の計測",
    "memory_megabytes": "メモリの計測",
    "kept_connection": "使い回す接続",
    "pause_supervisor": "親プロセスの一時停止",
    "pause": "ワーカーの一時停止",
}
"""What a call asks for that a page has not, in words that go before 「が要ります」."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A code cell, and what can be said of it without running it."""

    ident: str
    source: str
    plays: bool
    lacking: tuple[str, ...]
    """What it asks for itself and a page has not."""
    needs: tuple[str, ...]
    """The earlier cells that must have run, in their order."""
    topics: frozenset[str]
    """Topics whose experiments it plays."""


def cells(name: str) -> list[Cell]:
    """The code cells of a notebook; none plays when none of them measures anything."""
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    found: dict[str, Cell] = {}
    owners: dict[str, str] = {}
    for each in notebook["cells"]:
        if each["cell_type"] == "code":
            source = "".join(each["source"])
            cell = _read(each["id"], source, found, owners)
            found[cell.ident] = cell
            owners |= dict.fromkeys(_stored(ast.parse(source)), cell.ident)
    return list(found.values())


def measures(name: str) -> bool:
    """Whether a cell of the notebook can play an experiment in the page."""
    return any(cell.plays and cell.topics for cell in cells(name))


def _read(ident: str, source: str, before: dict[str, Cell], owners: dict[str, str]) -> Cell:
    tree = ast.parse(source)
    own = _stored(tree)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - own
    direct = {owners[name] for name in used if name in owners}
    needed = direct | {need for each in direct for need in before[each].needs}
    lacking = list(dict.fromkeys(_lacking(tree)))
    return Cell(
        ident=ident,
        source=source,
        plays=not lacking and all(before[need].plays for need in needed),
        lacking=tuple(lacking),
        needs=tuple(each for each in before if each in needed),
        topics=frozenset(topic for topic, _ in _runs(tree)),
    )


def _stored(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
    return names


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", "") or getattr(node.func, "id", ""), node


def _runs(tree: ast.AST) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, call in _calls(tree):
        if name == "run":
            options = {option.arg or "": option.value for option in call.keywords}
            yield ast.literal_eval(call.args[0]), options


def _lacking(tree: ast.AST) -> Iterator[str]:
    """What the page has not, of everything that the cell asks for."""
    for topic, options in _runs(tree):
        drill = options.get("drill")
        yield from _lacks(find(topic), ast.literal_eval(drill) if drill else "")
        if "watch_lock" in options:
            yield "ロックの観察"
    for name, call in _calls(tree):
        if name == "require":
            yield from _lacks(find(ast.literal_eval(call.args[0])))
        elif name in LACKS_CALL:
            yield LACKS_CALL[name]


def _lacks(topic: Topic, drill: str = "") -> Iterator[str]:
    experiment = topic.drill(drill) if drill else topic.experiment
    for what in lab_topics.lacks(topic, experiment):
        yield lab_topics.LACKS[what]


def built(name: str) -> dict[str, Any]:
    """What the page fetches when the reader presses 実行 for the first time."""
    playing = [cell for cell in cells(name) if cell.plays]
    slugs = sorted({slug for cell in playing for slug in cell.topics})
    return {
        "runtime": lab_topics.runtime_bytes(),
        "files": modules(),
        "topics": {slug: topic_of(find(slug), playing) for slug in slugs},
    }


def modules() -> dict[str, str]:
    """Python for the client interpreter, by its path there."""
    files = {path.name: path for path in CELLS.glob("*.py")}
    files |= {f"stage/{path.name}": path for path in (CELLS / "stage").glob("*.py")}
    files["stage/results.py"] = ROOT / "src" / "workerlab" / "results.py"
    return {where: path.read_text(encoding="utf-8") for where, path in sorted(files.items())}


def topic_of(topic: Topic, playing: list[Cell]) -> dict[str, Any]:
    """The versions that the cells name, the experiment, and how long each drill is."""
    words = {
        node.value
        for cell in playing
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Constant)
    }
    versions = {variant: topic.folder / f"{variant}.py" for variant in VARIANTS}
    versions |= {fake.name: fake.path for fake in topic.fakes if fake.name in words}
    experiment = (topic.folder / "experiment.py").read_text(encoding="utf-8")
    return {
        "versions": {
            app: [path.relative_to(ROOT).as_posix(), lab_topics.lesson(path)]
            for app, path in versions.items()
        },
        "experiment": experiment,
        "plans": {
            drill: {"requests": each.requests, "environment": bool(each.environment)}
            for drill, each in {"": topic.experiment, **topic.drills}.items()
        },
    }


def main() -> None:
    """Write what changed, and remove what no notebook has any more."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    names = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    wanted = {FOLDER / f"{name}.json": built(name) for name in names if measures(name)}
    for path in FOLDER.glob("*.json"):
        if path not in wanted:
            path.unlink()
    for path, data in wanted.items():
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
