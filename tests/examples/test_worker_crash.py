"""worker_crash: what was answered was saved, what died was in one worker, and N come back."""

import asyncio
import contextlib
import dataclasses
import os
import re
import signal
import sqlite3
from pathlib import Path

import pytest

from contract import ANY, FOUR, broken, play, rotated_fakes
from helpers import wait_until
from workerlab import catalog, stage
from workerlab.catalog import ROOT
from workerlab.cluster import burst
from workerlab.experiment import Result
from workerlab.files import files
from workerlab.servers import SERVERS

SLUG = "worker_crash"
TOPIC = catalog.find(SLUG)
servers = pytest.mark.parametrize(("server", "workers"), FOUR)
each_server = pytest.mark.parametrize("server", SERVERS)


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


def killed(result: Result) -> list[int | None]:
    return [e.worker for e in result.trace.events if e.kind == "worker_killed"]


@servers
def test_bad_loses_what_the_killed_worker_had_acknowledged(server: str, workers: int) -> None:
    """The service goes on as in good.py; only what the dead worker had in memory is gone."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"saved"}
    (victim,) = killed(result)
    acknowledged = sum(e.ok and e.worker == victim for e in result.trace.step("order"))
    assert 1 <= 120 - observed(result, "saved") <= acknowledged


@servers
def test_good_saves_before_it_answers(server: str, workers: int) -> None:
    """A worker dies, its requests break, are sent again, and are saved once each."""
    result = play(SLUG, "good", server, workers)
    assert broken(result) == set()
    (victim,) = killed(result)
    assert victim not in {e.worker for e in result.trace.step("look")}


@pytest.mark.parametrize(("fake", "server"), rotated_fakes(SLUG))
def test_fake_is_caught(fake: str, server: str) -> None:
    """Nothing runs at kill -9: no lifespan, no flush."""
    assert broken(play(SLUG, fake, server, 4)) == {"saved"}


@each_server
def test_connections_wait_while_all_workers_are_dead(server: str) -> None:
    """The listening socket is the parent's too: nobody is refused, all are answered."""
    assert broken(play(SLUG, "good", server, 4, TOPIC.drill("all_killed"))) == set()


def test_bad_breaks_the_drill() -> None:
    """It can fail: with all workers all that was acknowledged and not written is gone."""
    result = play(SLUG, "bad", ANY, 4, TOPIC.drill("all_killed"))
    assert "saved" in broken(result)


def test_poison_kills_a_worker_each_time_it_is_sent() -> None:
    """good.py keeps its promises; five tries cost five workers."""
    result = play(SLUG, "good", ANY, 4, TOPIC.drill("poison"))
    assert broken(result) == set()


def test_quarantine_stops_the_poison_after_two() -> None:
    """Who writes the attempt down before it can die refuses the third."""
    app = str(TOPIC.folder / "quarantine.py")
    result = asyncio.run(
        stage.play(TOPIC.drill("poison"), app, server="gunicorn-asgi", workers=4)
    )
    assert broken(result) == {"crashes"}
    assert observed(result, "crashes") == 2
    assert [e.status for e in result.trace.step("poison")] == [None, None, 422]


# -- what the page says besides ---------------------------------------------------------------


READS = """
from fastapi import FastAPI

app = FastAPI()
seen = []


@app.get("/")
async def read() -> dict[str, int]:
    seen.append(1)
    return {"seen": len(seen)}
"""


@each_server
def test_open_connection_breaks_and_the_newcomer_knows_nothing(
    server: str, tmp_path: Path
) -> None:
    """A connection to the dead worker is closed; its successor starts with empty memory."""
    app = tmp_path / "remembers.py"
    app.write_text(READS, encoding="utf-8")

    async def look() -> tuple[str, float | None]:
        async with SERVERS[server](str(app), workers=2, cwd=ROOT) as cluster:
            before = await cluster.workers()
            await burst(cluster, 40, "GET", "/", step="before")
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            await reader.readuntil(b"}")
            (worker,) = re.findall(r"x-worker-pid: (\d+)", head)
            await cluster.kill(int(worker))
            async with asyncio.timeout(60):
                rest = await until_closed(reader)
                writer.close()
                while True:
                    answer = await cluster.request("GET", "/", step="after", value="seen")
                    if answer.worker not in (None, *before):
                        return rest, answer.value

    assert asyncio.run(look()) == ("", 1)


async def until_closed(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.read()).decode()
    except ConnectionResetError:
        return ""


@each_server
def test_one_worker_of_uvicorn_has_no_parent(server: str, tmp_path: Path) -> None:
    """With --workers 1 uvicorn serves in the process that was started; gunicorn forks."""
    app = tmp_path / "alone.py"
    app.write_text(READS, encoding="utf-8")

    async def alone() -> bool:
        async with SERVERS[server](str(app), workers=1, cwd=ROOT) as cluster:
            return await cluster.workers() == [cluster.supervisor]

    assert asyncio.run(alone()) == (server == "uvicorn")


def test_same_key_sent_twice_is_one_order() -> None:
    """What makes sending again safe: the key, which the client chose."""

    async def twice(cluster: object) -> None:
        for _ in range(2):
            await cluster.request(  # type: ignore[attr-defined]
                "PUT", "/orders/1", step="order", json={"yen": 100}
            )
        for _ in range(20):
            await cluster.request(  # type: ignore[attr-defined]
                "GET", "/orders", step="look", value="saved"
            )

    experiment = dataclasses.replace(TOPIC.experiment, traffic=twice, invariants=())
    result = asyncio.run(stage.play(experiment, TOPIC.app("good"), workers=2))
    assert {e.value for e in result.trace.step("look")} == {1}


@each_server
def test_flush_on_shutdown_helps_at_sigterm(server: str) -> None:
    """The fake is right about an orderly end: lifespan's end runs, and all are saved."""

    async def saved_after_sigterm() -> int:
        async with files() as folder:
            app = str(TOPIC.folder / "fakes" / "flush_on_shutdown.py")
            cluster = SERVERS[server](app, workers=4, cwd=ROOT, services={"files": folder})
            async with cluster:
                orders = await asyncio.gather(
                    *(
                        cluster.request("PUT", f"/orders/{n}", step="order", json={"yen": 1})
                        for n in range(20)
                    )
                )
                assert all(order.ok for order in orders)
                os.kill(cluster.supervisor, signal.SIGTERM)
                await asyncio.to_thread(
                    wait_until, lambda: cluster._supervisor.poll() is not None, "the end"
                )
            path = Path(folder.env["DATA_DIR"], "orders.db")
            with contextlib.closing(sqlite3.connect(path)) as db:
                return int(db.execute("SELECT count(*) FROM orders").fetchone()[0])

    assert asyncio.run(saved_after_sigterm()) == 20
