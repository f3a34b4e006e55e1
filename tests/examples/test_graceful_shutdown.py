"""graceful_shutdown: nothing in flight is lost, and the server ends within its grace period."""

import asyncio
import dataclasses
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fastapi.testclient import TestClient
from gunicorn.config import Config as GunicornConfig
from uvicorn import Config as UvicornConfig

from contract import FOUR, broken, drills, fakes, play
from helpers import wait_until
from workerlab import catalog, stage
from workerlab.experiment import Result

SLUG = "graceful_shutdown"
TOPIC = catalog.find(SLUG)
servers = pytest.mark.parametrize(("server", "workers"), FOUR)


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@servers
def test_bad_never_ends_and_loses_who_comes_late(server: str, workers: int) -> None:
    """Slow orders are answered; the streams hold the server until SIGKILL.

    gunicorn's own worker says nothing to a WebSocket; the others close it with 1012.
    """
    silent = {"sockets"} if server == "gunicorn-asgi" else set()
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"lost", "streams", "finished", "killed"} | silent
    assert observed(result, "sockets") == (0 if silent else 4)


@servers
def test_good_loses_nothing_and_ends_in_time(server: str, workers: int) -> None:
    """The balancer knows first, the streams end themselves, the orders are finished."""
    assert broken(play(SLUG, "good", server, workers)) == set()


FAKES = {
    "lifespan_event": ("uvicorn", {"streams", "finished", "killed"}),
    "own_handler": ("gunicorn-uvicorn", {"finished", "killed"}),
    "quick_exit": ("uvicorn", {"orders", "streams", "sockets", "finished"}),
}


@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str) -> None:
    """Told too late, the server not told, nobody waited for."""
    server, expected = FAKES[fake]
    assert broken(play(SLUG, fake, server, 4)) == expected


@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str) -> None:
    """No warning loses requests; too little time loses work, which is sent once more."""
    elsewhere = {"no_hook": "gunicorn-asgi", "short_grace": "gunicorn-uvicorn"}
    result = play(SLUG, "good", elsewhere.get(drill, "uvicorn"), 4, TOPIC.drill(drill))
    assert broken(result) == set()
    if drill == "short_limit":
        assert {e.status for e in result.trace.step("order")} == {500}


# -- what the page says besides ---------------------------------------------------------------

LIMITS = {
    "uvicorn": ("--timeout-graceful-shutdown=5", True),
    "gunicorn-asgi": ("--graceful-timeout=5", False),
    "gunicorn-uvicorn": ("--graceful-timeout=5", False),
}


@pytest.mark.parametrize("server", LIMITS)
def test_limit_of_the_server_as_insurance(server: str) -> None:
    """uvicorn cancels what is left and cleans up; gunicorn's arbiter kills its workers."""
    option, cleans_up = LIMITS[server]
    experiment = dataclasses.replace(TOPIC.experiment, options=(option,))
    result = asyncio.run(stage.play(experiment, TOPIC.app("bad"), server=server, workers=4))
    assert observed(result, "killed") == 0, "the server itself ended in time"
    assert (observed(result, "finished") == 4) == cleans_up
    assert observed(result, "streams") == 0
    assert observed(result, "orders") == 8


def test_defaults_of_the_limits() -> None:
    """uvicorn waits for ever, gunicorn for 30 seconds."""
    assert UvicornConfig(app="x:y").timeout_graceful_shutdown is None
    assert GunicornConfig().graceful_timeout == 30


def test_readiness_follows_the_file_and_the_test_client_may_start_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A left-over file keeps /readyz at 503; in TestClient's thread no handler is set."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    spec = importlib.util.spec_from_file_location("good_here", TOPIC.folder / "good.py")
    assert spec is not None
    assert spec.loader is not None
    good = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(good)
    with TestClient(good.app) as client:
        assert client.get("/readyz").status_code == 200
        (tmp_path / "draining").touch()
        assert client.get("/readyz").status_code == 503
        assert client.get("/orders").status_code == 200
    assert signal.getsignal(signal.SIGTERM) is before


SERVER = (
    "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit()); "
    "print('up', flush=True); time.sleep(600)"
)


@pytest.mark.parametrize(("line", "ends"), [("{0}; true", False), ("exec {0}", True)])
def test_shell_as_first_process_swallows_sigterm(line: str, ends: bool) -> None:
    """PID 1 ignores what it has no handler for; `exec` makes the server PID 1."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"]).returncode:
        pytest.skip("unshare はここでは使えません（名前空間を作る権限がありません）")
    command = line.format(f'{sys.executable} -c "{SERVER}"')
    with subprocess.Popen(
        [*unshare, "sh", "-c", command], stdout=subprocess.PIPE, text=True
    ) as outside:
        try:
            assert outside.stdout is not None
            assert outside.stdout.readline() == "up\n"
            (first,) = psutil.Process(outside.pid).children()
            os.kill(first.pid, signal.SIGTERM)
            if ends:
                wait_until(lambda: outside.poll() is not None, "the end", timeout=60)
            else:
                time.sleep(1)
                assert first.is_running(), "it took no notice"
        finally:
            outside.kill()
