"""The client opens a connection for every request; a kept one would hide every fault."""

import asyncio

import aiohttp

from helpers import APPS
from workerlab.client import sample
from workerlab.cluster import burst
from workerlab.uvicorn import UvicornCluster


async def _ports(count: int) -> tuple[list[float | None], list[int | None]]:
    async with UvicornCluster(str(APPS / "echo_port.py"), workers=2) as cluster:
        seen = await burst(cluster, count, "GET", "/port", step="ask", value="port")
    return [e.value for e in seen], [e.worker for e in seen]


def test_every_request_has_a_connection_of_its_own() -> None:
    """300 requests come from as good as 300 ports, and reach both workers."""
    ports, workers = asyncio.run(_ports(300))
    assert len(set(ports)) >= 290, "a port may come again, a kept connection gives one"
    assert len(set(workers)) == 2


async def _one_kept_connection(count: int) -> set[str]:
    async with (
        UvicornCluster(str(APPS / "echo_port.py"), workers=4) as cluster,
        aiohttp.ClientSession() as session,
    ):
        pids = set()
        for _ in range(count):
            async with session.get(f"http://127.0.0.1:{cluster.port}/port") as response:
                await response.read()
                pids.add(response.headers["x-worker-pid"])
    return pids


def test_a_kept_connection_stays_with_one_worker() -> None:
    """What the page warns of: 200 requests over one connection see one worker of four."""
    assert len(asyncio.run(_one_kept_connection(200))) == 1


def test_testclient_has_no_worker_process() -> None:
    """What the page warns of: TestClient runs the app in the test's own process."""
    import os

    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app = FastAPI()

    @app.get("/pid")
    async def pid() -> int:
        return os.getpid()

    assert TestClient(app).get("/pid").json() == os.getpid()


def test_number_is_read_from_prometheus_text() -> None:
    """A metric's samples are summed over its labels; other text has no number."""
    text = '# TYPE a_total counter\na_total{pid="1"} 2.0\na_total{pid="2"} 3\na 1e3\na_b 7\n'
    assert sample(text, "a_total") == 5
    assert sample(text, "a") == 1000
    assert sample(text, "pid") is None
    assert sample("a broken", "a") is None
