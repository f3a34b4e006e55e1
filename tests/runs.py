"""What runs of this test session printed, so that a transcript needs no second run.

`contract.play` keeps what ``workerlab run`` prints for the run that it has just made; the
tests of the transcripts, which come last, compare it with what the pages show.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from rich.console import Console

from workerlab import cli
from workerlab.experiment import Experiment, Result

VARIABLE = "WORKERLAB_TEST_RUNS"
"""Folder that all processes of one test session share."""
OPTIONS = ("--variant", "--app", "--drill", "--workers", "--server")


def begin() -> None:
    """Make the session's folder, in the process that owns the session."""
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="workerlab-runs-")


def end() -> None:
    """Remove the session's folder."""
    shutil.rmtree(os.environ.pop(VARIABLE), ignore_errors=True)


def keep(
    experiment: Experiment, app: str, result: Result, *, server: str, workers: int
) -> None:
    """Keep what the command would print.

    Args:
        app: ``"bad"``, ``"good"``, or the path of the file.
    """
    name = Path(app).name
    console = Console(width=88, color_system=None)
    with console.capture() as capture:
        console.print(*cli.report(result, f"{name}、{server}、ワーカー {workers}"), sep="\n")
    status = cli.HOLDS if result.holds else cli.VIOLATED
    file = _file(experiment.topic, name, experiment.drill, server, workers)
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_text(f"{status}\n{capture.get()}", encoding="utf-8")
    draft.replace(file)


def transcript(command: str, *, status: int, server: str) -> str | None:
    """What typing *command* shows, if this session has made that run; else ``None``.

    Args:
        server: The one that the command takes when it names none.
    """
    _, run, topic, *options = command.split()
    assert run == "run"
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert set(given) <= set(OPTIONS), command
    drill = given.get("--drill", "")
    app = given.get("--app") or given.get("--variant") or ("good" if drill else "bad")
    server = given.get("--server", server)
    file = _file(topic, Path(app).name, drill, server, int(given["--workers"]))
    with contextlib.suppress(FileNotFoundError):
        ended, _, printed = file.read_text(encoding="utf-8").partition("\n")
        assert ended == str(status), f"{command} ended with {ended}:\n{printed}"
        text = "\n".join(line.rstrip() for line in printed.splitlines())
        return f"$ {command}\n{text}\n$ echo $?\n{status}\n"
    return None


def _file(topic: str, app: str, drill: str, server: str, workers: int) -> Path:
    return Path(os.environ[VARIABLE], f"{topic}.{app}.{drill}.{server}.{workers}.txt")
