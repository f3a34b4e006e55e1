"""process_local_lock: a lock in the process guards one worker; one in the store guards all."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import QueuePool, create_engine, text
from sqlalchemy.exc import OperationalError

from contract import (
    FOUR,
    broken,
    play,
    rotated_drills,
    rotated_fakes,
    skip_if_missing,
)
from workerlab import catalog, stage
from workerlab.cluster import Cluster
from workerlab.experiment import Experiment, Result
from workerlab.postgres import postgres

SLUG = "process_local_lock"
stages = pytest.mark.parametrize(("server", "workers"), FOUR)


def observed(result: Result, name: str) -> float:
    """What the run showed for the invariant *name*."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@stages
def test_bad_gives_a_number_twice(server: str, workers: int) -> None:
    """Each worker has its own threading.Lock: numbers repeat, none is left out."""
    assert broken(play(SLUG, "bad", server, workers)) == {"last", "duplicates"}


@stages
def test_good_numbers_without_gap_and_duplicate(server: str, workers: int) -> None:
    """The advisory lock covers reading, rendering and writing in all workers."""
    assert broken(play(SLUG, "good", server, workers)) == set()


BREAKS = {
    "asyncio_lock": {"last", "duplicates"},
    "lock_in_the_query": {"last", "duplicates"},
    "multiprocessing_lock": {"last", "duplicates"},
    "sequence": {"last", "gaps"},
}


@pytest.mark.parametrize(("fake", "server"), rotated_fakes(SLUG))
def test_fake_is_caught(fake: str, server: str) -> None:
    """Locks of one process and a stale snapshot repeat numbers; a sequence leaves gaps."""
    assert broken(play(SLUG, fake, server, 4)) == BREAKS[fake]


def play_file(
    path: Path | str,
    experiment: Experiment | None = None,
    *,
    server: str = "uvicorn",
    workers: int = 4,
) -> Result:
    """The experiment on any file, also with a single worker."""
    skip_if_missing(SLUG)
    experiment = experiment or catalog.find(SLUG).experiment
    return asyncio.run(stage.play(experiment, str(path), server=server, workers=workers))


@pytest.mark.parametrize("name", ["bad.py", "fakes/asyncio_lock.py"])
def test_one_worker_is_right(name: str) -> None:
    """With workers=1 the lock of the process holds: that is why tests don't see it."""
    assert broken(play_file(catalog.find(SLUG).folder / name, workers=1)) == set()


def changed(folder: Path, source: str, *changes: tuple[str, str]) -> Path:
    """A copy of the example *source* in which each first text is its second."""
    code = (catalog.find(SLUG).folder / source).read_text(encoding="utf-8")
    for old, new in changes:
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    app = folder / "changed.py"
    app.write_text(code, encoding="utf-8")
    return app


LOCKS = {
    "app_state": (
        ("lock = threading.Lock()\n", "app.state.lock = threading.Lock()\n"),
        ("with lock, ", "with app.state.lock, "),
    ),
    "manager": (
        ("lock = threading.Lock()\n", "lock = multiprocessing.Manager().Lock()\n"),
        ("import threading\n", "import multiprocessing\n"),
    ),
}


@pytest.mark.parametrize("where", LOCKS)
def test_other_places_for_the_lock_are_in_the_process_too(where: str, tmp_path: Path) -> None:
    """app.state is memory of the worker; each worker's Manager is a process of its own."""
    result = play_file(changed(tmp_path, "bad.py", *LOCKS[where]))
    assert broken(result) == {"last", "duplicates"}


def preloaded(experiment: Experiment) -> Experiment:
    return replace(experiment, options=("--preload",))


def multiprocessing_lock() -> Path:
    return catalog.find(SLUG).folder / "fakes" / "multiprocessing_lock.py"


def test_preload_shares_a_multiprocessing_lock() -> None:
    """Made before the fork it is one lock, as the page admits."""
    experiment = preloaded(catalog.find(SLUG).experiment)
    assert (
        broken(play_file(multiprocessing_lock(), experiment, server="gunicorn-asgi")) == set()
    )


def test_multiprocessing_lock_outlives_its_holder() -> None:
    """Shared by preload, it stays locked for ever when its holder is killed."""
    drill = catalog.find(SLUG).drill("holder_killed")
    module = catalog.find(SLUG)._module

    async def kill(cluster: Cluster) -> None:
        async with asyncio.TaskGroup() as group:
            long = {"pages": 3000}  # a minute: longer than any look takes
            group.create_task(
                cluster.request("POST", "/invoices", step="long", json=long, timeout=60)
            )
            await cluster.kill(await module.rendering(cluster))
            for _ in range(8):
                group.create_task(
                    cluster.request("POST", "/invoices", step="after", json={}, timeout=10)
                )
        await module.count(cluster)

    result = play_file(
        multiprocessing_lock(), preloaded(replace(drill, traffic=kill)), server="gunicorn-asgi"
    )
    assert observed(result, "after") == 0
    assert {e.status for e in result.trace.step("after")} == {None}


@pytest.mark.parametrize(("drill", "server"), rotated_drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """A dead holder's lock is passed on; a holder that lost its lock cannot write."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


APART = """\
    with locks.connect() as other:
        other.execute(TAKE_LOCK)
        with session.begin():
            number = next_number(session)
        render(order, number)
        with session.begin():
            session.add(Invoice(number=number))
"""


def test_lock_on_another_connection_breaks_the_drill(tmp_path: Path) -> None:
    """The drill can fail: who writes over another connection writes without the lock."""
    source = (catalog.find(SLUG).folder / "good.py").read_text(encoding="utf-8")
    together = source[source.index("    with session.begin():") : source.index("    return {")]
    app = changed(
        tmp_path,
        "good.py",
        (together, APART),
        ("from sqlalchemy import text\n", "from sqlalchemy import create_engine, text\n"),
        ("TAKE_LOCK =", 'locks = create_engine(os.environ["DATABASE_URL"])\nTAKE_LOCK ='),
    )
    experiment = catalog.find(SLUG).drill("lock_lost")
    assert broken(play_file(app, experiment)) & {"failed", "duplicates", "after"}


async def _session_lock() -> tuple[bool, bool]:
    """Whether a lock outlives rollback and return to the pool: session-, transaction-level."""
    async with postgres() as server:
        url = server.env["DATABASE_URL"]
        engine = create_engine(
            url, pool_size=1, max_overflow=0, poolclass=QueuePool, connect_args={}
        )
        other = create_engine(url)
        kept = []
        for take in ("pg_advisory_lock(1)", "pg_advisory_xact_lock(2)"):
            with engine.connect() as connection:
                connection.execute(text(f"SELECT {take}"))  # an error, and no unlock
            with other.connect() as rival:
                key = take[-2]
                got = rival.scalar(text(f"SELECT pg_try_advisory_xact_lock({key})"))
                kept.append(not got)
        engine.dispose()
        other.dispose()
        return kept[0], kept[1]


def test_session_level_lock_stays_with_the_pooled_connection() -> None:
    """Why good.py takes the lock of the transaction: the other one is not given back."""
    skip_if_missing(SLUG)
    assert asyncio.run(_session_lock()) == (True, False)


async def _timed_out() -> str:
    async with postgres() as server:
        engine = create_engine(
            server.env["DATABASE_URL"], connect_args={"options": "-c lock_timeout=100ms"}
        )
        take = text("SELECT pg_advisory_xact_lock(1)")
        with engine.connect() as holder, engine.connect() as rival:
            holder.execute(take)
            with pytest.raises(OperationalError) as refused:
                rival.execute(take)
        engine.dispose()
        return str(refused.value)


def test_lock_timeout_ends_the_wait_for_an_advisory_lock() -> None:
    """As for rows: the page sends readers to the setting of oversell."""
    skip_if_missing(SLUG)
    assert "due to lock timeout" in asyncio.run(_timed_out())


def test_unique_turns_duplicates_into_errors(tmp_path: Path) -> None:
    """A UNIQUE index keeps the books right and answers 500 instead of waiting."""
    unique = (
        "app = FastAPI(lifespan=office.lifespan)\n",
        "from sqlalchemy import Index\n\n"
        'Index("one_number", Invoice.number, unique=True)\n'
        "app = FastAPI(lifespan=office.lifespan)\n",
    )
    result = play_file(changed(tmp_path, "bad.py", unique))
    assert broken(result) == {"issued", "last"}
    assert 500 in {e.status for e in result.trace.step("issue")}
