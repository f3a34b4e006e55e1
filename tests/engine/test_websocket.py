"""A WebSocket stays with its worker, and what comes over it is recorded like an answer."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from helpers import APPS
from workerlab.cluster import Cluster
from workerlab.processes import ProcessCluster
from workerlab.servers import SERVERS

each_server = pytest.mark.parametrize("server", SERVERS)


def on(server: str, look: Callable[[ProcessCluster], Awaitable[None]]) -> None:
    """Run *look* on two workers of *server*."""

    async def run() -> None:
        async with SERVERS[server](str(APPS / "websocket.py"), workers=2) as cluster:
            await look(cluster)

    asyncio.run(run())


@each_server
def test_messages_are_recorded_with_the_worker(server: str) -> None:
    """The handshake names the worker; each message is an exchange of it with its number."""

    async def look(cluster: Cluster) -> None:
        async with cluster.websocket("/echo", step="open") as socket:
            await socket.send('{"number": 7}')
            await socket.send("text")
            first = await socket.receive(step="echo", value="number", timeout=30)
            second = await socket.receive(step="echo", timeout=30)
            assert socket.close_code is None
        assert socket.opened.status == 101
        assert socket.opened.worker in await cluster.workers()
        assert first is not None
        assert second is not None
        assert (first.value, first.worker) == (7, socket.opened.worker)
        assert second.body == "text"
        assert cluster.trace.exchanges == [socket.opened, first, second]

    on(server, look)


@each_server
def test_end_has_a_code_and_is_no_message(server: str) -> None:
    """Closed by the app, refused, silent: no exchange, no exception; only `close_code`."""

    async def look(cluster: Cluster) -> None:
        async with cluster.websocket("/echo", step="open") as socket:
            assert await socket.receive(step="echo", timeout=0.1) is None
            assert socket.close_code is None, "silence is no end"
            await socket.send("bye")
            assert await socket.receive(step="echo", timeout=30) is None
            assert socket.close_code == 4001
            await socket.send("too late")
        async with cluster.websocket("/closed", step="refused") as socket:
            assert socket.opened.status == 403
            assert await socket.receive(step="echo") is None
            assert socket.close_code == 1006
        assert [e.step for e in cluster.trace.exchanges] == ["open", "refused"]

    on(server, look)


def test_killed_worker_breaks_its_websocket() -> None:
    """The client sees 1006, which no server can send."""

    async def look(cluster: Cluster) -> None:
        async with cluster.websocket("/echo", step="open") as socket:
            assert socket.opened.worker is not None
            await cluster.kill(socket.opened.worker)
            assert await socket.receive(step="echo", timeout=30) is None
            assert socket.close_code == 1006

    on("uvicorn", look)
