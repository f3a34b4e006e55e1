"""startup_failure: what fails must say so, and must not have replaced what works."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from contract import FOUR, broken, fakes, play
from helpers import wait_until
from workerlab import catalog, stage
from workerlab.catalog import ROOT
from workerlab.experiment import Result
from workerlab.processes import kill_group

SLUG = "startup_failure"
TOPIC = catalog.find(SLUG)
servers = pytest.mark.parametrize(("server", "workers"), FOUR)
FAKED = [("uvicorn", 4), ("gunicorn-asgi", 2), ("gunicorn-uvicorn", 2)]


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


def hidden(server: str) -> set[str]:
    """uvicorn's supervisor does not tell that it failed; gunicorn's arbiter does."""
    return {"refused"} if server == "uvicorn" else set()


@servers
def test_bad_takes_the_working_server_down(server: str, workers: int) -> None:
    """All new workers fail, the old ones are gone; with uvicorn the status says success."""
    assert broken(play(SLUG, "bad", server, workers)) == {"started", "after"} | hidden(server)


@servers
def test_good_is_refused_before_a_worker_starts(server: str, workers: int) -> None:
    """The same workers answer before and after."""
    result = play(SLUG, "good", server, workers)
    assert broken(result) == set()
    assert len(result.trace.workers) <= workers


@pytest.mark.parametrize(("server", "workers"), FAKED)
@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """Too late, not at all, or only half of the question."""
    silent = {"refused"} if fake == "log_and_go_on" else hidden(server)
    result = play(SLUG, fake, server, workers)
    assert broken(result) == {"started", "after"} | silent
    if fake == "log_and_go_on":
        assert {e.status for e in result.trace.step("after")} == {500}


def test_one_failing_worker_ends_the_others_with_status_0() -> None:
    """The check can't see it; uvicorn stops the three that work, and reports success."""
    assert broken(play(SLUG, "good", "uvicorn", 4, TOPIC.drill("one_fails"))) == set()


def test_one_failing_worker_ends_gunicorn_with_a_failure() -> None:
    """The arbiter ends too, and says that it failed."""
    app = TOPIC.app("good")
    drill = TOPIC.drill("one_fails")
    result = asyncio.run(stage.play(drill, app, server="gunicorn-asgi", workers=2))
    assert broken(result) == {"status"}
    assert observed(result, "status") in GUNICORN


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn-asgi"])
def test_killed_workers_are_replaced_for_ever(server: str) -> None:
    """No status at all; and a working version brings the service back."""
    drill = TOPIC.drill("killed_while_starting")
    assert broken(play(SLUG, "good", server, 4, drill)) == set()


# -- what the page says besides ---------------------------------------------------------------

GUNICORN = {3, 1}
"""3, or 1 when the first worker fails while the arbiter is still forking (27.0.1)."""
RAISES = """
import os
from contextlib import asynccontextmanager
from fastapi import FastAPI

with open("starts", "a") as starts:
    starts.write("x")
if os.environ["FAIL"] == "import":
    raise RuntimeError("import")


@asynccontextmanager
async def lifespan(app):
    raise RuntimeError("lifespan")
    yield


app = FastAPI(lifespan=lifespan)
"""


@contextmanager
def started(fail: str, folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a reader starts it, without our probe; gone when the block ends."""
    (folder / "raises.py").write_text(RAISES, encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env={**os.environ, "FAIL": fail, "PYTHONPATH": str(folder)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        kill_group(process.pid)
        process.wait()


UVICORN = ("uvicorn", "raises:app", "--port=0")
ARBITER = ("gunicorn", "raises:app", "--bind=127.0.0.1:0", "--no-control-socket")


@pytest.mark.parametrize(
    ("fail", "command", "statuses"),
    [
        ("lifespan", (*UVICORN, "--workers=2"), {0}),
        ("lifespan", (*UVICORN, "--workers=1"), {3}),
        ("import", (*UVICORN, "--workers=1"), {1}),
        ("lifespan", (*ARBITER, "--workers=2", "--worker-class=asgi"), GUNICORN),
        ("import", (*ARBITER, "--workers=2", "--worker-class=asgi"), GUNICORN),
        (
            "import",
            (*ARBITER, "--workers=2", "--worker-class=uvicorn_worker.UvicornWorker"),
            GUNICORN,
        ),
    ],
)
def test_status_of_a_server_that_cannot_start(
    fail: str, command: tuple[str, ...], statuses: set[int], tmp_path: Path
) -> None:
    """The table of the page, for the servers that end."""
    with started(fail, tmp_path, *command) as process:
        assert process.wait(120) in statuses


def test_uvicorn_starts_a_failing_import_for_ever(tmp_path: Path) -> None:
    """Each of two workers was started three times, and the supervisor has not ended."""
    with started("import", tmp_path, *UVICORN, "--workers=2") as process:
        starts = tmp_path / "starts"
        wait_until(lambda: starts.exists() and len(starts.read_text()) >= 6, "restarts", 120)
        assert process.poll() is None


def check(**settings: str) -> subprocess.CompletedProcess[str]:
    """What the release script runs before it touches the server."""
    return subprocess.run(
        [sys.executable, "-m", f"examples.{SLUG}.good"],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def test_check_names_every_wrong_setting_and_shows_no_value() -> None:
    """All at once, status 1; an URL may hold a password."""
    done = check(PAYMENT_URL="no-url-with-secret")
    assert done.returncode == 1
    assert "payment_url" in done.stderr
    assert "payment_timeout" in done.stderr
    assert "Field required" in done.stderr
    assert "secret" not in done.stderr.partition("ValidationError")[2]


def test_check_passes_with_working_settings() -> None:
    """Status 0, nothing written."""
    done = check(**dict(TOPIC.experiment.environment))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("form", ["{check} && exec {server}", "{check} && {server}; true"])
def test_exec_gives_the_signals_to_the_server(form: str, tmp_path: Path) -> None:
    """With exec the shell becomes the server; without, a TERM leaves the server running."""
    server = f"{sys.executable} -m uvicorn examples.{SLUG}.good:app --port 0"
    command = form.format(check=f"{sys.executable} -m examples.{SLUG}.good", server=server)
    with (tmp_path / "log").open("wb") as log:
        shell = subprocess.Popen(
            ["sh", "-c", command],
            cwd=ROOT,
            env={**os.environ, **TOPIC.experiment.environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: b"running on" in (tmp_path / "log").read_bytes(), "start", 120)
        children = psutil.Process(shell.pid).children()
        shell.send_signal(signal.SIGTERM)
        shell.wait(60)
        assert len(children) == (0 if "exec" in form else 1)
        assert all(child.is_running() for child in children)
    finally:
        kill_group(shell.pid)
        shell.wait()
