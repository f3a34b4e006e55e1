"""duplicate_scheduler: a scheduler in every worker, or one by a lease and a mark per tick."""

import asyncio
import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import redis.asyncio
from redis.exceptions import LockError

from contract import FOUR, broken, drills, fakes, play
from workerlab import catalog, stage
from workerlab.cluster import Cluster
from workerlab.experiment import Beside, Result
from workerlab.servers import SERVERS
from workerlab.valkey import private_valkey

SLUG = "duplicate_scheduler"
FOLDER = catalog.find(SLUG).folder
EACH_ON_ANOTHER = list(zip(fakes(SLUG), sorted(SERVERS), strict=True))
stages = pytest.mark.parametrize(("server", "workers"), FOUR)


def observed(result: Result, name: str) -> float:
    """What the run showed for the invariant *name*."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@stages
def test_bad_sends_one_mail_per_worker(server: str, workers: int) -> None:
    """Four schedulers, four mails for each tick."""
    result = play(SLUG, "bad", server, workers)
    assert {"total", "after"} <= broken(result)
    assert observed(result, "total") > 10  # 35 unless the machine is very busy
    assert observed(result, "after") > 5


@stages
def test_good_sends_one_mail_per_tick(server: str, workers: int) -> None:
    """Also when the worker at work is killed: another makes up for its tick."""
    result = play(SLUG, "good", server, workers)
    assert broken(result) == set()
    assert [e.kind for e in result.trace.events if e.kind != "measured"] == ["worker_killed"]


@pytest.mark.parametrize(("fake", "server"), EACH_ON_ANOTHER)
def test_fake_is_caught(fake: str, server: str) -> None:
    """Counted per scheduler, one after the other, or nobody any more.

    Each on another server: a run takes ten seconds, and the server changes nothing.
    """
    result = play(SLUG, fake, server, 4)
    if fake == "lock_at_startup":
        assert {"after", "missing"} <= broken(result)
        assert observed(result, "after") <= 1  # what the killed worker had sent itself
    elif fake == "lock_per_run":  # on a very busy machine it is slow: then ticks are missing
        assert {"total", "missing"} & broken(result)
    else:
        assert {"total", "after"} <= broken(result)


@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str) -> None:
    """Two at work on one tick, one mail."""
    experiment = catalog.find(SLUG).drill(drill)
    result = play(SLUG, "good", "uvicorn", 4, experiment)
    assert broken(result) == set()


def changed(folder: Path, old: str, new: str) -> str:
    """good.py with one text replaced."""
    source = (FOLDER / "good.py").read_text(encoding="utf-8")
    assert source.count(old) == 1
    app = folder / "changed.py"
    app.write_text(source.replace(old, new), encoding="utf-8")
    return str(app)


def test_lease_alone_sends_twice(tmp_path: Path) -> None:
    """Without the mark the worker that comes back sends a second mail: the drill can fail."""
    mark = 'if await store.set(f"sent:{tick}", 1, nx=True, ex=KEEP_SECONDS):'
    app = changed(tmp_path, mark, "if True:")
    result = asyncio.run(stage.play(catalog.find(SLUG).drill("owner_paused"), app))
    assert broken(result) == {"resumed"}
    assert observed(result, "resumed") > 5


def test_mark_alone_sends_once_and_works_four_times(tmp_path: Path) -> None:
    """Without the lease no mail is sent twice, but all four aggregate."""
    app = changed(tmp_path, "while await hold(lease):", "while True:")
    result = asyncio.run(stage.play(catalog.find(SLUG).experiment, app))
    assert broken(result) == set()
    steps = ("before", "after", "resumed")
    assert max(n for step in steps for n in result.trace.measured(f"{step}.repeated")) > 0


def test_scheduler_of_its_own_needs_no_lease_among_workers() -> None:
    """One process beside the server sends; the web workers have no scheduler."""
    topic = catalog.find(SLUG)
    module = topic.experiment.traffic.__globals__

    async def traffic(cluster: Cluster) -> None:
        first = await module["current_tick"](cluster) + 1
        await module["watch"](cluster, first, "before")

    experiment = dataclasses.replace(
        topic.experiment,
        traffic=traffic,
        beside=(
            Beside(name="scheduler", command=(f"examples.{SLUG}.scheduler",), ready="started"),
        ),
    )
    result = asyncio.run(stage.play(experiment, f"examples.{SLUG}.web_only:app"))
    assert result.trace.measured("before.mails")[-1] == 5
    assert result.trace.measured("before.ticks")[-1] == 5


# -- the parts of good.py, in this process ---------------------------------------------------


def load(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """good.py, whose work takes no time."""
    spec = importlib.util.spec_from_file_location("good_in_process", FOLDER / "good.py")
    assert spec is not None
    assert spec.loader is not None
    good = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(good)

    async def aggregate(store: object, tick: int) -> None:
        return None

    monkeypatch.setattr(good, "aggregate", aggregate)
    return good


def test_owner_makes_up_for_what_nobody_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """All ticks since the last one that was done, also after a long time without an owner."""
    good = load(monkeypatch)

    async def sent() -> tuple[list[int], int]:
        async with (
            private_valkey() as valkey,
            redis.asyncio.from_url(valkey.env["REDIS_URL"]) as store,
        ):
            now = await good.current_tick(store)
            await store.zadd("progress", {"tick": now - 20})
            lease = store.lock("owner", timeout=2)
            await good.send_due_reports(store, lease)
            return [int(tick) for tick in await store.lrange("mails", 0, -1)], now

    mails, now = asyncio.run(sent())
    assert mails[:20] == list(range(now - 19, now + 1))
    assert len(mails) == len(set(mails))


def test_lease_is_for_one_and_is_lost_only_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner extends it, another does not get it, and who lost it learns so."""
    good = load(monkeypatch)

    async def hold() -> list[bool]:
        async with (
            private_valkey() as valkey,
            redis.asyncio.from_url(valkey.env["REDIS_URL"]) as store,
        ):
            mine, other = (store.lock("owner", timeout=2) for _ in range(2))
            seen = [await good.hold(mine), await good.hold(mine), await good.hold(other)]
            await store.delete("owner")  # as if it had expired
            seen += [await good.hold(other), await good.hold(mine)]
            with pytest.raises(LockError):
                await mine.reacquire()
            return seen

    assert asyncio.run(hold()) == [True, True, False, True, False]


def test_progress_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that comes back with an old tick does not make the others repeat theirs."""
    good = load(monkeypatch)

    async def progress() -> tuple[float, list[int]]:
        async with (
            private_valkey() as valkey,
            redis.asyncio.from_url(valkey.env["REDIS_URL"]) as store,
        ):
            for tick in (8, 5):
                await good.send_report(store, tick)
            return await store.zscore("progress", "tick"), await store.lrange("mails", 0, -1)

    assert asyncio.run(progress()) == (8, [b"8", b"5"])
