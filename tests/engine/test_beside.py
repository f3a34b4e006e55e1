"""A process beside the server: ready before the traffic, watched, gone at the end."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from helpers import APPS, running, wait_until, workerlab
from workerlab import stage
from workerlab.beside import running_beside
from workerlab.cluster import Cluster
from workerlab.errors import ServiceError
from workerlab.experiment import Beside, Experiment, Invariant
from workerlab.service import Service

TOPIC = "background_task_loss"
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.environ.get("REDIS_URL"), file=open("pids", "a"))
print(os.getpid(), child.pid, file=open("pids", "a"))
print("now ready", flush=True)
time.sleep(600)
"""


def beside(command: tuple[str, ...] = ("parent",), ready: str = "now ready") -> Beside:
    return Beside(name="helper", command=command, ready=ready)


def within(folder: Path, what: Beside, look: Callable[[Service], Awaitable[None]]) -> None:
    async def block() -> None:
        env = {"REDIS_URL": "redis://here"}
        async with running_beside(what, env=env, cwd=folder) as process:
            await look(process)

    asyncio.run(block())


def written(folder: Path) -> list[str]:
    return (folder / "pids").read_text().split()


def alive(pids: list[str]) -> list[str]:
    return [pid for pid in pids if psutil.pid_exists(int(pid)) and status(pid) != "zombie"]


def status(pid: str) -> str:
    try:
        return psutil.Process(int(pid)).status()
    except psutil.NoSuchProcess:
        return "zombie"


def test_it_has_the_settings_and_is_gone_with_its_children(tmp_path: Path) -> None:
    """Started with the services' variables; parent and child are killed at the end."""
    (tmp_path / "parent.py").write_text(PARENT)

    async def look(process: Service) -> None:
        url, *pids = written(tmp_path)
        assert url == "redis://here"
        assert alive(pids) == pids
        assert process.is_up()

    within(tmp_path, beside(), look)
    assert alive(written(tmp_path)[1:]) == []


def test_it_is_gone_after_an_exception(tmp_path: Path) -> None:
    """Whatever ends the run, nothing of it is left."""
    (tmp_path / "parent.py").write_text(PARENT)

    async def look(process: Service) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        within(tmp_path, beside(), look)
    assert alive(written(tmp_path)[1:]) == []


def test_it_is_stopped_and_started_on_purpose(tmp_path: Path) -> None:
    """A stop is no failure, kills the child too, and a start gives other processes."""
    (tmp_path / "parent.py").write_text(PARENT)

    async def look(process: Service) -> None:
        first = written(tmp_path)[1:]
        process.stop()
        assert alive(first) == []
        assert process.is_up(), "stopped on purpose is not a failure"
        process.start()
        second = written(tmp_path)[4:]
        assert alive(second) == second
        assert not set(first) & set(second)

    within(tmp_path, beside(), look)


def test_its_death_is_told_with_its_last_line(tmp_path: Path) -> None:
    """A death that nobody asked for ends the run; the orphaned child is killed as well."""
    (tmp_path / "parent.py").write_text(PARENT)

    async def look(process: Service) -> None:
        parent = written(tmp_path)[1]
        os.kill(int(parent), signal.SIGKILL)
        await asyncio.wait_for(process.watch(), 30)

    with pytest.raises(ServiceError, match=r"helper.*実行中に終了.*now ready"):
        within(tmp_path, beside(), look)
    assert alive(written(tmp_path)[1:]) == []


@pytest.mark.parametrize("code", ["raise SystemExit('no such queue')", "print('hello')"])
def test_it_never_gets_ready(tmp_path: Path, code: str) -> None:
    """It ends without a word of being ready: told at once, with its last line."""
    (tmp_path / "parent.py").write_text(code)

    async def look(process: Service) -> None:
        pytest.fail("it started")

    with pytest.raises(ServiceError, match=r"準備ができませんでした.*(no such queue|hello)"):
        within(tmp_path, beside(), look)


def test_it_runs_beside_the_server_for_an_experiment() -> None:
    """`stage.play` starts it before the traffic; the traffic may stop and start it."""

    async def traffic(cluster: Cluster) -> None:
        await cluster.stop_service("helper")
        await cluster.start_service("helper")
        for _ in range(20):
            await cluster.request("GET", "/openapi.json", step="read")

    experiment = Experiment(
        topic="x",
        title="x",
        traffic=traffic,
        requests=20,
        beside=(
            beside(command=("http.server", "0", "--bind=127.0.0.1"), ready="Serving HTTP"),
        ),
        invariants=(Invariant(name="x", label="x", observe=len_of, expected=20, why="x"),),
    )
    result = asyncio.run(stage.play(experiment, str(APPS / "other_routes.py"), workers=2))
    assert result.holds
    kinds = [(event.kind, event.detail) for event in result.trace.events]
    assert kinds == [("service_stopped", "helper"), ("service_started", "helper")]


def len_of(trace: object) -> float:
    return len(trace.exchanges)  # type: ignore[attr-defined]


def test_queue_worker_killed_during_the_run() -> None:
    """The whole command: the reason is named in one line, and nothing is left running."""
    command = workerlab("run", TOPIC, "--variant", "bad", "--workers", "2")
    with running(command) as process:
        wait_until(lambda: command.processes("workerlab.probe:app"), "the server")
        found = command.processes("taskiq", "worker")
        pids = {each.pid for each in found}
        (parent,) = (each for each in found if each.ppid() not in pids)
        parent.kill()
        _, err = process.communicate(timeout=60)
        command.assert_nothing_left()
    assert process.returncode == 2
    assert "サーバーの隣で動くプロセス（queue）が実行中に終了しました" in err
    assert err.count("\n") == 1


def test_interrupt_ends_the_queue_worker_too() -> None:
    """Ctrl-C in the middle of a run."""
    command = workerlab("run", TOPIC, "--variant", "bad", "--workers", "2")
    with running(command) as process:
        wait_until(lambda: command.processes("workerlab.probe:app"), "the server")
        assert command.processes("taskiq", "worker")
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        command.assert_nothing_left()
    assert process.returncode == 2
    assert "SIGINT で中断しました" in err
