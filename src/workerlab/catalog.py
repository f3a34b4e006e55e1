"""The topics on disk: what lies under ``examples/``."""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import cast

from workerlab.errors import AppError, UnknownTopicError
from workerlab.experiment import Experiment

ROOT = Path(os.environ.get("WORKERLAB_ROOT", Path(__file__).parents[2])).resolve()
"""The project's folder: working directory of every server that is started."""

VARIANTS = ("bad", "good")


@dataclass(frozen=True, kw_only=True)
class Fake:
    """A fix that looks right and is not."""

    name: str
    path: Path
    summary: str
    """First line of the docstring: what it does."""
    temptation: str
    """Why one would try it (``誘惑:`` in the docstring)."""
    failure: str
    """Why it does not help (``破綻:`` in the docstring)."""


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One folder under ``examples/``."""

    slug: str
    folder: Path

    @property
    def _module(self) -> ModuleType:
        return _execute(self.folder / "experiment.py", f"workerlab_topic_{self.slug}")

    @property
    def experiment(self) -> Experiment:
        """``EXPERIMENT`` of ``experiment.py``: bad breaks it, good holds."""
        return cast(Experiment, self._module.EXPERIMENT)

    @property
    def drills(self) -> dict[str, Experiment]:
        """``DRILLS`` of ``experiment.py`` by name: when the fix breaks, and how."""
        drills: tuple[Experiment, ...] = getattr(self._module, "DRILLS", ())
        return {drill.drill: drill for drill in drills}

    def drill(self, name: str) -> Experiment:
        """One drill.

        Raises:
            UnknownTopicError: The topic has none of this name.
        """
        if name not in self.drills:
            known = "、".join(self.drills) or "なし"
            raise UnknownTopicError(
                f"「{self.slug}」に「{name}」という障害訓練はありません。"
                f"指定できる名前: {known}。"
            )
        return self.drills[name]

    def app(self, variant: str) -> str:
        """Import string of a variant, as a reader would type it after ``uvicorn``."""
        return f"examples.{self.slug}.{variant}:app"

    @property
    def fakes(self) -> tuple[Fake, ...]:
        """The fixes that are none, by name."""
        return tuple(_read_fake(path) for path in sorted(self.folder.glob("fakes/*.py")))


@functools.cache
def _execute(path: Path, name: str) -> ModuleType:
    """The file as a module, run once: its experiments are the same objects everywhere."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def topics() -> tuple[Topic, ...]:
    """All topics, by slug."""
    folders = sorted(path.parent for path in ROOT.glob("examples/*/experiment.py"))
    return tuple(Topic(slug=folder.name, folder=folder) for folder in folders)


def find(slug: str) -> Topic:
    """The topic called *slug*.

    Raises:
        UnknownTopicError: There is none; the message proposes similar names.
    """
    known = {topic.slug: topic for topic in topics()}
    if slug in known:
        return known[slug]
    similar = difflib.get_close_matches(slug, known, n=3) or sorted(known)[:3]
    raise UnknownTopicError(
        f"「{slug}」という実験はありません。近い名前: {'、'.join(similar)}"
        "（一覧は workerlab list）。"
    )


def app_from_file(path: Path) -> str:
    """The location of the reader's own application, checked as far as text allows.

    Raises:
        AppError: The file is missing, is no Python file, has a syntax error, or never
            binds the name ``app``.
    """
    if path.is_dir():
        raise AppError(f"{path} はフォルダーです。app を持つ .py ファイルを指定してください。")
    if not path.is_file():
        raise AppError(
            f"{path} というファイルがありません。app を持つ .py ファイルのパスを"
            "指定してください。"
        )
    if path.suffix != ".py":
        raise AppError(
            f"{path} は .py ファイルではありません。app を持つ Python ファイルを"
            "指定してください。"
        )
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except OSError as error:
        raise AppError(
            f"{path} を読めません（{error.strerror}）。権限を確かめてください。"
        ) from None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        reason = getattr(error, "msg", str(error))
        raise AppError(
            f"{path} の {line} 行目に構文エラーがあります（{reason}）。"
            "直してから、もう一度実行してください。"
        ) from None
    if not {"app", "*"} & _bound_names(tree):
        raise AppError(
            f"{path} に app がありません。app = FastAPI() のように、"
            "ファイルの最上位で app を定義してください。"
        )
    return str(path.resolve())


def _bound_names(tree: ast.Module) -> set[str]:
    """Every name that the file binds anywhere: assigned, defined or imported."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.ImportFrom(names=aliases) | ast.Import(names=aliases):
                names.update(alias.asname or alias.name for alias in aliases)
    return names


def _read_fake(path: Path) -> Fake:
    """Read the docstring; its two marked sentences are part of the lesson."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    lines = docstring.splitlines()
    marked = {
        mark: line.removeprefix(f"{mark}:").strip()
        for line in lines
        for mark in ("誘惑", "破綻")
        if line.startswith(f"{mark}:")
    }
    return Fake(
        name=path.stem,
        path=path,
        summary=lines[0] if lines else "",
        temptation=marked.get("誘惑", ""),
        failure=marked.get("破綻", ""),
    )
