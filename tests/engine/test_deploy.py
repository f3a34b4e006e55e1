"""`Cluster.deploy`: the check before, the status after, and who serves then."""

import asyncio
from pathlib import Path

import pytest

from workerlab import stage
from workerlab.cluster import Cluster
from workerlab.errors import StartupError
from workerlab.experiment import Experiment, Result
from workerlab.uvicorn import UvicornCluster

APP = """
import os
import time
from contextlib import asynccontextmanager

from fastapi import FastAPI


@asynccontextmanager
async def lifespan(app):
    if os.environ["LEVEL"] == "fails":
        raise RuntimeError("LEVEL")
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
def read() -> dict[str, int]:
    return {"level": int(os.environ["LEVEL"]), "old": "OLD" in os.environ}


if __name__ == "__main__":
    if os.environ["LEVEL"] == "hangs":
        time.sleep(600)
    if os.environ["LEVEL"] == "refused":
        raise SystemExit(7)
"""


@pytest.fixture
def app(tmp_path: Path) -> str:
    path = tmp_path / "deployed.py"
    path.write_text(APP, encoding="utf-8")
    return str(path)


def deployed(app: str, *levels: str) -> Result:
    """One request before, and one after each deployment."""

    async def traffic(cluster: Cluster) -> None:
        await cluster.request("GET", "/", step="read", value="level")
        for level in levels:
            await cluster.deploy({"LEVEL": level})
            await cluster.request("GET", "/", step="read", value="level", timeout=60)

    experiment = Experiment(
        topic="t",
        title="デプロイ",
        traffic=traffic,
        requests=1 + len(levels),
        invariants=(),
        environment={"LEVEL": "1", "OLD": "1"},
        may_lose_requests=True,
    )
    return asyncio.run(stage.play(experiment, app, workers=2))


def test_refused_check_leaves_the_old_server_and_success_replaces_it(app: str) -> None:
    """The status is the check's; the new settings replace all the old ones."""
    trace = deployed(app, "refused", "2").trace
    assert trace.measured("deploy.status") == [7, 0]
    assert trace.measured("deploy.started") == [0, 2]
    assert [e.value for e in trace.exchanges] == [1, 1, 2]
    assert [e.body["old"] for e in trace.exchanges] == [True, True, False]
    assert [e.kind for e in trace.events].count("server_restarted") == 1


def test_server_that_ends_is_no_error_and_the_next_one_takes_its_place(app: str) -> None:
    """Nobody serves after a failed start, until something that works is deployed."""
    trace = deployed(app, "fails", "2").trace
    assert trace.measured("deploy.started") == [2, 2]
    assert [e.value for e in trace.exchanges] == [1, None, 2]
    assert len(trace.measured("deploy.status")) == 2


def test_check_that_hangs_is_killed(app: str) -> None:
    """A file that does not end when it is run is an error with a next step."""

    async def hang() -> None:
        async with UvicornCluster(app, environment={"LEVEL": "1"}, workers=1) as cluster:
            cluster._startup_timeout = 1.0
            await cluster.deploy({"LEVEL": "hangs"})

    with pytest.raises(StartupError, match=r"点検.*deployed\.py"):
        asyncio.run(hang())
