"""log_rotation: every worker rotates for all; stdout leaves that to the one who reads."""

import asyncio
import dataclasses
import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pytest

from contract import FOUR, broken, drills, fakes, play
from workerlab import catalog, stage
from workerlab.experiment import Result
from workerlab.trace import count_by_worker

SLUG = "log_rotation"
EXPERIMENT = catalog.find(SLUG).experiment
servers = pytest.mark.parametrize(("server", "workers"), FOUR)


def play_together(app: str, server: str, workers: int) -> Result:
    """A run in which several workers wrote after the first rotation; else nobody disturbs.

    On a crowded machine one worker may answer all the rest of 300 orders.
    """
    for _ in range(5):
        result = play(SLUG, app, server, workers)
        if len(count_by_worker(result.trace.step("order")[-120:])) >= 2:
            return result
    raise AssertionError("one worker answered alone, five times")


@servers
def test_bad_loses_lines_and_names(server: str, workers: int) -> None:
    """More than half of the lines are gone, and no line tells who wrote it."""
    result = play_together("bad", server, workers)
    assert broken(result) == {"logged", "named"}
    (logged,) = (v.observed for v in result.verdicts if v.invariant.name == "logged")
    assert logged < 150


def test_one_process_keeps_all_lines(tmp_path: Path) -> None:
    """The same handler in one process loses nothing, with or without the pid."""
    for name, pid in (("plain", ""), ("named", "pid=%(process)7d ")):
        handler = RotatingFileHandler(tmp_path / name, maxBytes=8000, backupCount=1)
        handler.setFormatter(logging.Formatter(f"%(asctime)s {pid}order=%(message)s"))
        for number in range(300):
            handler.emit(logging.makeLogRecord({"msg": f"{number:06}"}))
        handler.close()
        text = "".join(path.read_text("utf-8") for path in tmp_path.glob(f"{name}*"))
        assert text.count("order=") == 300
        assert len(list(tmp_path.glob(f"{name}*"))) == 2
    source = (catalog.find(SLUG).folder / "bad.py").read_text("utf-8")
    assert "maxBytes=8000, backupCount=1" in source
    assert '"%(asctime)s order=%(message)s"' in source


def test_without_rotation_nothing_is_lost(tmp_path: Path) -> None:
    """A plain FileHandler in every worker appends line after line, as the page says."""
    source = (catalog.find(SLUG).folder / "bad.py").read_text("utf-8")
    rotating = 'RotatingFileHandler(FOLDER / "app.log", maxBytes=8000, backupCount=1)'
    assert rotating in source
    app = tmp_path / "app.py"
    plain = source.replace(rotating, 'logging.FileHandler(FOLDER / "app.log")')
    app.write_text(plain, encoding="utf-8")
    result = asyncio.run(stage.play(EXPERIMENT, str(app), workers=4))
    assert broken(result) == {"named"}


@servers
def test_good_keeps_every_line(server: str, workers: int) -> None:
    """300 lines for 300 orders, each with its process."""
    result = play(SLUG, "good", server, workers)
    assert broken(result) == set()
    assert len(count_by_worker(result.trace.step("order"))) >= 2


@servers
@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """A queue per worker and a handler that reopens lose lines too."""
    assert broken(play_together(fake, server, workers)) == {"logged", "named"}


@pytest.mark.parametrize("drill", drills(SLUG))
@pytest.mark.parametrize("server", ["gunicorn-asgi", "gunicorn-uvicorn"])
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """When nobody reads the pipe, what fits is answered and the rest waits."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


def test_drill_can_fail() -> None:
    """With a reader, every order is answered."""
    experiment = dataclasses.replace(catalog.find(SLUG).drill("stalled_reader"), options=())
    result = play(SLUG, "good", "gunicorn-asgi", 4, experiment)
    assert broken(result) == {"accepted", "unanswered"}
