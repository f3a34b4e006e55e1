"""per_process_cache: a dict is one cache per worker, Redis is one cache for all."""

import asyncio
import contextlib
import importlib.util
import time
from collections.abc import Awaitable
from types import ModuleType

import httpx2
import pytest
import redis
import redis.asyncio
from fastapi import FastAPI
from fastapi_cache.backends.inmemory import InMemoryBackend

from contract import ANY, FOUR, broken, drills, fakes, good_here, play
from workerlab import catalog
from workerlab.service import Service
from workerlab.trace import count_by_worker
from workerlab.valkey import private_valkey

SLUG = "per_process_cache"
four = pytest.mark.parametrize(("server", "workers"), FOUR)


@four
def test_bad_serves_the_old_price(server: str, workers: int) -> None:
    """Each worker that answers loads once, and after the update remembers the old price."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"lowest", "stale", "computations"}
    caches = len(count_by_worker(result.trace.step("before")))
    assert result.trace.measured("computations.before") == [caches]


@four
def test_good_loads_once_and_forgets_everywhere(server: str, workers: int) -> None:
    """With one cache in Redis all invariants hold."""
    assert broken(play(SLUG, "good", server, workers)) == set()


ONE_CACHE = {"redis_without_delete"}
"""Fakes that load once: the cache is shared, it is only never emptied."""


@four
@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """A fix that only looks like one still serves the old price; a shared cache 50 times."""
    result = play(SLUG, fake, server, workers)
    per_process = set() if fake in ONE_CACHE else {"computations"}
    assert broken(result) == {"lowest", "stale"} | per_process
    if fake in ONE_CACHE:
        assert [v.observed for v in result.verdicts if v.invariant.name == "stale"] == [50]


@pytest.mark.parametrize("server", sorted({server for server, _ in FOUR}))
@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """Without Redis good.py answers from the database, with the right price."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


def test_drill_fails_without_the_fallback() -> None:
    """The drill can fail: an app that does not catch the error answers 500."""
    experiment = catalog.find(SLUG).drill("redis_stop")
    assert "answered" in broken(play(SLUG, "redis_without_delete", ANY, 4, experiment))


def good_with(
    url: str, folder: object, monkeypatch: pytest.MonkeyPatch
) -> contextlib.AbstractAsyncContextManager[tuple[ModuleType, httpx2.AsyncClient]]:
    """good.py in this process, with this Redis and this folder."""
    return good_here(SLUG, monkeypatch, REDIS_URL=url, DATA_DIR=str(folder))


def test_silent_redis_costs_two_timeouts(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that accepts and never answers delays a read by 2 × TIMEOUT, as the page says."""

    async def read() -> tuple[float, int, float]:
        silent = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        async with (
            silent,
            good_with(f"redis://127.0.0.1:{port}/0", tmp_path, monkeypatch) as (
                good,
                client,
            ),
        ):
            begun = time.perf_counter()
            answer = await client.get("/price")
            return time.perf_counter() - begun, answer.status_code, good.TIMEOUT

    seconds, status, limit = asyncio.run(read())
    assert status == 200
    assert 2 * limit * 0.9 <= seconds < 4, seconds  # redis-py by itself waits 5 s, twice


def test_dead_connections_in_the_pool_fail_once_without_a_retry(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart redis-py's idle connections are dead; good.py never notices."""

    async def after_a_restart(client: redis.asyncio.Redis, valkey: Service) -> list[str]:
        await asyncio.gather(*(client.get("price") for _ in range(3)))
        valkey.stop()
        valkey.start()
        return [
            "failed" if isinstance(answer, redis.ConnectionError) else "ok"
            for answer in [await _try(client.get("price")) for _ in range(3)]
        ]

    async def compare() -> tuple[list[str], list[str]]:
        async with private_valkey() as valkey:
            url = valkey.env["REDIS_URL"]
            async with redis.asyncio.from_url(url) as plain:
                without = await after_a_restart(plain, valkey)
            async with good_with(url, tmp_path, monkeypatch) as (good, _):
                return without, await after_a_restart(good.app.state.redis, valkey)

    without, with_retry = asyncio.run(compare())
    assert "failed" in without
    assert with_retry == ["ok", "ok", "ok"]


async def _try(call: Awaitable[object]) -> object:
    try:
        return await call
    except redis.ConnectionError as error:
        return error


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()


def test_lost_delete_leaves_the_old_price_until_the_ttl(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the delete does not reach Redis, the old price stays, for 60 seconds at most."""

    async def update_without_delete() -> tuple[int, int]:
        async with (
            private_valkey() as valkey,
            good_with(valkey.env["REDIS_URL"], tmp_path, monkeypatch) as (good, client),
        ):
            await client.get("/price")
            monkeypatch.setattr(good.app.state.redis, "delete", _unreachable)
            await client.put("/price", json={"price": 200})
            price = (await client.get("/price")).json()["price"]
            return price, await good.app.state.redis.ttl("price")

    price, seconds = asyncio.run(update_without_delete())
    assert price == 100
    assert 0 < seconds <= 60


async def _unreachable(*keys: str) -> int:
    raise redis.exceptions.ConnectionError("unreachable")


def test_read_that_meets_an_update_fills_in_the_old_price(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loaded before the update, stored after its delete: old, for 60 seconds at most."""

    async def meet() -> tuple[int, int]:
        async with (
            private_valkey() as valkey,
            good_with(valkey.env["REDIS_URL"], tmp_path, monkeypatch) as (good, client),
        ):
            store = good.app.state.redis.set

            async def set_after_the_update(*args: object, **options: object) -> object:
                await client.put("/price", json={"price": 200})
                return await store(*args, **options)

            monkeypatch.setattr(good.app.state.redis, "set", set_after_the_update)
            await client.get("/price")
            price = (await client.get("/price")).json()["price"]
            return price, await good.app.state.redis.ttl("price")

    price, seconds = asyncio.run(meet())
    assert price == 100
    assert 0 < seconds <= 60


def test_redis_py_waits_five_seconds_by_default() -> None:
    """What good.py's own limit replaces, and that from_url does not try again."""

    async def defaults() -> tuple[float, float, int]:
        async with redis.asyncio.from_url("redis://127.0.0.1:6379/0") as client:
            connection = client.connection_pool.make_connection()
            return (
                connection.socket_connect_timeout,
                connection.socket_timeout,
                connection.retry.get_retries(),
            )

    assert asyncio.run(defaults()) == (5, 5, 0)
    assert redis.__version__ == "8.1.0"


def test_in_memory_backend_is_a_dict_of_the_process() -> None:
    """And `fastapi_cache.backends.memory`, which the seed imports, does not exist."""
    assert type(InMemoryBackend()._store) is dict
    assert InMemoryBackend()._store is InMemoryBackend()._store
    assert importlib.util.find_spec("fastapi_cache.backends.memory") is None


def test_on_event_is_deprecated() -> None:
    """FastAPI itself says to use lifespan instead of the seed's `on_event`."""
    with pytest.warns(DeprecationWarning, match="lifespan"):
        FastAPI().on_event("startup")
