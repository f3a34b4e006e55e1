"""The topics on disk: what lies under ``examples/``."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from workerlab.errors import AppError, UnknownTopicError
from workerlab.experiment import Experiment

ROOT = Path(os.environ.get("WORKERLAB_ROOT", Path(__file__).parents[2]))
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
    def experiment(self) -> Experiment:
        """Load ``experiment.py``."""
        path = self.folder / "experiment.py"
        name = f"workerlab_topic_{self.slug}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        experiment = module.EXPERIMENT
        assert isinstance(experiment, Experiment)
        return experiment

    def app(self, variant: str) -> str:
        """Import string of a variant, as a reader would type it after ``uvicorn``."""
        return f"examples.{self.slug}.{variant}:app"

    @property
    def fakes(self) -> tuple[Fake, ...]:
        """The fixes that are none, by name."""
        return tuple(_read_fake(path) for path in sorted(self.folder.glob("fakes/*.py")))


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
            mentions ``app`` at its top level.
    """
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
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        reason = getattr(error, "msg", str(error))
        raise AppError(
            f"{path} の {line} 行目に構文エラーがあります（{reason}）。"
            "直してから、もう一度実行してください。"
        ) from None
    if "app" not in {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}:
        raise AppError(
            f"{path} に app がありません。app = FastAPI() のように、"
            "ファイルの最上位で app を定義してください。"
        )
    return str(path.resolve())


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
