"""`Cluster.stop` and `execute`: SIGTERM, a grace period, SIGKILL; a hook before it."""

import asyncio
from pathlib import Path

import pytest

from workerlab import stage
from workerlab.cluster import Cluster
from workerlab.experiment import Experiment
from workerlab.servers import SERVERS
from workerlab.trace import Trace

APP = """
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI


@asynccontextmanager
async def lifespan(app):
    if "DEAF" in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
def read() -> dict[str, int]:
    return {"told": int(Path(os.environ["RUNTIME_DIRECTORY"], "told").exists())}
"""
TELL = 'test "$NAME" = shop && touch "$RUNTIME_DIRECTORY/told"; exit 3'


@pytest.fixture
def app(tmp_path: Path) -> str:
    path = tmp_path / "stopped.py"
    path.write_text(APP, encoding="utf-8")
    return str(path)


def stopped(app: str, server: str, *, grace: float, **environment: str) -> tuple[Trace, int]:
    """Tell the app by a command, stop it, start it again; the trace and the exit status."""
    statuses: list[int] = []

    async def traffic(cluster: Cluster) -> None:
        assert await cluster.execute("sh", "-c", TELL) == 3
        await cluster.request("GET", "/", step="read", value="told", timeout=60)
        statuses.append(await cluster.stop(grace=grace))
        assert await cluster.workers() == []
        await cluster.request("GET", "/", step="read", timeout=60)
        await cluster.restart()
        await cluster.request("GET", "/", step="read", value="told", timeout=60)

    experiment = Experiment(
        topic="t",
        title="停止",
        traffic=traffic,
        requests=3,
        invariants=(),
        environment={"NAME": "shop", **environment},
        may_lose_requests=True,
    )
    result = asyncio.run(stage.play(experiment, app, server=server, workers=2))
    return result.trace, statuses[0]


def kinds(trace: Trace, kind: str) -> list[int | None]:
    return [event.worker for event in trace.events if event.kind == kind]


@pytest.mark.parametrize("server", SERVERS)
def test_server_ends_by_itself_and_starts_again(app: str, server: str) -> None:
    """Nobody is killed, each lifespan ends, nobody serves; a restart is a new server."""
    trace, status = stopped(app, server, grace=60)
    assert status == 0
    assert len(kinds(trace, "worker_stopping")) == 2
    assert kinds(trace, "worker_killed") == []
    assert trace.measured("stop.killed") == [0]
    assert trace.measured("stop.finished") == [2]
    assert [e.value for e in trace.exchanges] == [1, None, 0]


def test_who_does_not_obey_is_killed(app: str) -> None:
    """When the grace period is over, parent and workers get SIGKILL, and that is told."""
    trace, status = stopped(app, "gunicorn-uvicorn", grace=0.4, DEAF="1")
    assert status == -9
    workers = set(kinds(trace, "worker_stopping"))
    assert len(workers) == 2
    assert workers < set(kinds(trace, "worker_killed"))
    assert trace.measured("stop.killed") == [3]
    assert trace.measured("stop.finished") == [0]
