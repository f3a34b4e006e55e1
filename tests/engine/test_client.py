"""The client opens a connection for every request; a kept one would hide every fault."""

import asyncio

import pytest

from helpers import APPS
from workerlab.client import Client, sample
from workerlab.cluster import Requester, burst
from workerlab.trace import Exchange, Trace
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


async def _one_kept_connection(count: int) -> list[Exchange]:
    async with (
        UvicornCluster(str(APPS / "echo_port.py"), workers=4) as cluster,
        cluster.kept_connection() as one,
    ):
        asked = [await _ask_port(one) for _ in range(count)]
        assert cluster.trace.exchanges == asked, "recorded like any other"
    return asked


async def _ask_port(client: Requester) -> Exchange:
    return await client.request("GET", "/port", step="ask", value="port")


def test_a_kept_connection_stays_with_one_worker() -> None:
    """What the page warns of: 200 requests over one connection see one worker of four."""
    asked = asyncio.run(_one_kept_connection(200))
    assert len({e.worker for e in asked}) == 1
    assert len({e.value for e in asked}) == 1


async def _kill_the_other_end() -> tuple[Exchange, Exchange]:
    async with (
        UvicornCluster(str(APPS / "echo_port.py"), workers=2) as cluster,
        cluster.kept_connection() as one,
    ):
        before = await _ask_port(one)
        assert before.worker is not None
        await cluster.kill(before.worker)
        async with asyncio.timeout(30):
            while before.worker in await cluster.workers():
                await asyncio.sleep(0.02)
        return before, await _ask_port(one)


def test_a_kept_connection_is_opened_anew_when_its_worker_has_died() -> None:
    """The next request meets another worker over another connection."""
    before, after = asyncio.run(_kill_the_other_end())
    assert after.ok
    assert after.worker != before.worker
    assert after.value != before.value


async def _connections_of_one_lost(method: str) -> tuple[int, Exchange]:
    connections = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Client(f"http://127.0.0.1:{port}", Trace()) as client:
            lost = await client.request(method, "/", step="ask")
    return connections, lost


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_a_lost_request_is_not_sent_again(method: str) -> None:
    """aiohttp would repeat a GET or PUT by itself: the loss and its second effect hide."""
    connections, lost = asyncio.run(_connections_of_one_lost(method))
    assert connections == 1
    assert lost.status is None


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
