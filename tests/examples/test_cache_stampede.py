"""cache_stampede: without a lock all compute, with one in Redis a single worker does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import httpx2
import pytest
import redis.asyncio
from redis.exceptions import LockNotOwnedError

from contract import ANY, FOUR, broken, drills, fakes, good_here, play
from workerlab import catalog, stage
from workerlab.experiment import Result
from workerlab.trace import count_by_worker
from workerlab.valkey import private_valkey

SLUG = "cache_stampede"
four = pytest.mark.parametrize(("server", "workers"), FOUR)


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@four
def test_bad_computes_for_everybody(server: str, workers: int) -> None:
    """A shared cache alone does not help: who finds it empty computes."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"computations", "cold"}
    assert observed(result, "cold") > 10  # 50 unless the machine is very busy


def test_one_worker_is_enough_for_a_stampede() -> None:
    """Whoever finds the cache empty computes, also within a single process."""
    result = asyncio.run(
        stage.play(catalog.find(SLUG).experiment, catalog.find(SLUG).app("bad"), workers=1)
    )
    assert observed(result, "cold") > 10


@four
def test_good_computes_once_and_answers_meanwhile(server: str, workers: int) -> None:
    """One computation; after the sale the others get the old ranking without waiting."""
    result = play(SLUG, "good", server, workers)
    assert broken(result) == set()
    stale = result.trace.step("stale")
    (remade,) = {e.end for e in stale if e.value == 2 and e.end - e.start >= 0.5}
    assert sum(e.value == 1 and e.end < remade for e in stale) >= 10  # 49 if not busy


@four
@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """A fix that only looks like one computes more often than needed."""
    result = play(SLUG, fake, server, workers)
    assert broken(result) == {"computations", "cold"}
    if fake == "asyncio_lock":
        assert observed(result, "cold") <= len(count_by_worker(result.trace.step("cold")))


@pytest.mark.parametrize("server", sorted({server for server, _ in FOUR}))
@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """When the holder of the lock dies, another takes over; nobody else computes."""
    experiment = catalog.find(SLUG).drill(drill)
    result = play(SLUG, "good", server, 4, experiment)
    assert broken(result) == set()
    assert [event.kind for event in result.trace.events] == ["worker_killed"]


def test_bad_breaks_the_drill() -> None:
    """The drill can fail: without a lock every follower computes."""
    experiment = catalog.find(SLUG).drill("holder_killed")
    assert broken(play(SLUG, "bad", ANY, 4, experiment)) == {"computations"}


def test_lock_without_expiry_survives_its_holder(tmp_path: Path) -> None:
    """Without an expiry nobody gets an answer any more, as the page says."""
    topic = catalog.find(SLUG)
    source = (topic.folder / "good.py").read_text(encoding="utf-8")
    app = tmp_path / "eternal_lock.py"
    app.write_text(source.replace("timeout=LOCK_SECONDS", "timeout=None"), encoding="utf-8")
    assert "timeout=None" in app.read_text(encoding="utf-8")
    result = asyncio.run(stage.play(topic.drill("holder_killed"), str(app)))
    assert observed(result, "followers") == 0


def test_lock_shorter_than_the_work_lets_a_second_one_in(tmp_path: Path) -> None:
    """With a lock of 0.1 s for a computation of 0.5 s, more than one computes."""
    topic = catalog.find(SLUG)
    source = (topic.folder / "good.py").read_text(encoding="utf-8")
    app = tmp_path / "short_lock.py"
    app.write_text(source.replace("LOCK_SECONDS = 2", "LOCK_SECONDS = 0.1"), encoding="utf-8")
    assert "LOCK_SECONDS = 0.1" in app.read_text(encoding="utf-8")
    result = asyncio.run(stage.play(topic.experiment, str(app)))
    assert {"computations", "cold"} <= broken(result)


def test_lock_is_a_token_with_an_expiry() -> None:
    """What redis-py's Lock stores, and that only the owner's token can release it."""

    async def look() -> tuple[bytes | None, bytes, int]:
        async with (
            private_valkey() as valkey,
            redis.asyncio.from_url(valkey.env["REDIS_URL"]) as client,
        ):
            lock = client.lock("ranking:lock", timeout=2)
            assert await lock.acquire(blocking=False)
            assert not await client.lock("ranking:lock", timeout=2).acquire(blocking=False)
            stored = await client.get("ranking:lock"), await client.pttl("ranking:lock")
            token = lock.local.token
            await client.set("ranking:lock", "somebody else")
            with pytest.raises(LockNotOwnedError):
                await lock.release()
            assert await client.get("ranking:lock") == b"somebody else"
            return token, *stored

    token, stored, milliseconds = asyncio.run(look())
    assert stored == token
    assert 0 < milliseconds <= 2000


@contextlib.asynccontextmanager
async def good_in_process(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[ModuleType, httpx2.AsyncClient]]:
    """good.py in this process, to look at what it keeps in Redis."""
    async with (
        private_valkey() as valkey,
        good_here(SLUG, monkeypatch, REDIS_URL=valkey.env["REDIS_URL"]) as served,
    ):
        yield served


def test_freshness_ends_between_60_and_70_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jitter, and the old ranking that stays for an hour."""

    async def lifetimes() -> tuple[list[int], int]:
        async with good_in_process(monkeypatch) as (good, client):
            monkeypatch.setattr(good, "COMPUTE_SECONDS", 0)
            fresh = []
            for _ in range(5):
                await client.post("/sales")
                await client.get("/ranking")
                fresh.append(await good.app.state.redis.pttl("ranking:fresh"))
            return fresh, await good.app.state.redis.ttl("ranking")

    fresh, kept = asyncio.run(lifetimes())
    assert all(59_000 <= milliseconds <= 70_000 for milliseconds in fresh)
    assert max(fresh) - min(fresh) > 10  # not all the same
    assert 3590 <= kept <= 3600


def test_sale_during_a_computation_is_counted_by_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the page admits: the ranking in the making is called fresh all the same."""

    async def sell_meanwhile() -> tuple[int, int]:
        async with good_in_process(monkeypatch) as (good, client):
            monkeypatch.setattr(good, "COMPUTE_SECONDS", 0.3)
            making = asyncio.create_task(client.get("/ranking"))
            while not await good.app.state.redis.exists("ranking:lock"):
                await asyncio.sleep(0.01)
            await client.post("/sales")
            await making
            again = (await client.get("/ranking")).json()["version"]
            return again, await good.app.state.redis.pttl("ranking:fresh")

    version, fresh = asyncio.run(sell_meanwhile())
    assert version == 1
    assert fresh > 50_000


def test_who_gets_the_lock_late_does_not_compute_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between a look at the cache and the lock another may finish: good.py looks again."""

    async def finish_in_between() -> list[int]:
        async with good_in_process(monkeypatch) as (good, client):
            monkeypatch.setattr(good, "COMPUTE_SECONDS", 0)
            lock_of = good.app.state.redis.lock

            def lock(*args: object, **options: object) -> object:
                monkeypatch.setattr(good.app.state.redis, "lock", lock_of)
                late = lock_of(*args, **options)
                take = late.acquire

                async def acquire(**how: object) -> bool:
                    await client.get("/ranking")
                    return await take(**how)

                late.acquire = acquire
                return late

            monkeypatch.setattr(good.app.state.redis, "lock", lock)
            version = (await client.get("/ranking")).json()["version"]
            return [version, int(await good.app.state.redis.get("computations"))]

    assert asyncio.run(finish_in_between()) == [1, 1]
