"""oversell: a check and a write apart sell 300 of 100; one conditional UPDATE sells 100."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from contract import (
    ANY,
    FOUR,
    broken,
    play,
    rotated_drills,
    rotated_fakes,
    skip_if_missing,
)
from examples.oversell.shop import Item
from workerlab import catalog, stage
from workerlab.experiment import Experiment, Result
from workerlab.postgres import postgres

SLUG = "oversell"
stages = pytest.mark.parametrize(("server", "workers"), FOUR)


def observed(result: Result, name: str) -> float:
    """What the run showed for the invariant *name*."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@stages
def test_bad_sells_what_it_does_not_have(server: str, workers: int) -> None:
    """Everybody reads before somebody writes: most of 300 buy one of 100."""
    result = play(SLUG, "bad", server, workers)
    assert {"sold", "unaccounted"} <= broken(result)
    assert "decided" not in broken(result)
    assert observed(result, "sold") > 150  # 300 unless the machine is very busy


@stages
def test_good_sells_a_hundred(server: str, workers: int) -> None:
    """The condition and the decrement are one statement, the ledger the same transaction."""
    assert broken(play(SLUG, "good", server, workers)) == set()


BREAKS = {
    "lock_after_read": {"sold", "unaccounted"},
    "serializable_without_retry": {"decided"},
    "threading_lock": {"sold", "unaccounted"},
}


@pytest.mark.parametrize(("fake", "server"), rotated_fakes(SLUG))
def test_fake_is_caught(fake: str, server: str) -> None:
    """A lock per process, one taken too late: oversold. SERIALIZABLE alone: errors."""
    result = play(SLUG, fake, server, 4)
    assert BREAKS[fake] <= broken(result)
    if fake == "serializable_without_retry":  # what it promises, it keeps
        assert observed(result, "unaccounted") == 0
        assert observed(result, "sold") <= 100
        statuses = {e.status for e in result.trace.step("purchase")}
        assert 500 in statuses


def play_file(path: str | Path, experiment: Experiment | None = None) -> Result:
    """The experiment, or a drill, on a file that is no variant and no fake."""
    skip_if_missing(SLUG)
    return asyncio.run(stage.play(experiment or catalog.find(SLUG).experiment, str(path)))


@pytest.mark.parametrize("way", ["for_update", "serializable", "check_constraint"])
def test_other_ways_hold(way: str) -> None:
    """The other fixes of the page sell a hundred, too, and answer 200 or 409 only."""
    assert broken(play_file(catalog.find(SLUG).folder / f"{way}.py")) == set()


def changed(folder: Path, source: str, *changes: tuple[str, str]) -> str:
    """A copy of the example *source* in which each first text is its second."""
    text = (catalog.find(SLUG).folder / source).read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    app = folder / "changed.py"
    app.write_text(text, encoding="utf-8")
    return str(app)


def test_serializable_tries_again_and_again(tmp_path: Path) -> None:
    """What the retry costs: more transactions fail than succeed, as the page says."""
    app = changed(
        tmp_path,
        "serializable.py",
        ("for _ in range(ATTEMPTS)", "for attempt in range(ATTEMPTS)"),
        ("return sell(session)", 'return {**sell(session), "receipt": attempt}'),
    )
    result = play_file(app)
    assert broken(result) == set()
    assert sum(e.value or 0 for e in result.trace.step("purchase") if e.ok) > 100


def test_populate_existing_mends_the_late_lock(tmp_path: Path) -> None:
    """The row was locked all right: only the value that was read before was kept."""
    app = changed(
        tmp_path,
        "fakes/lock_after_read.py",
        (".with_for_update()", ".with_for_update().execution_options(populate_existing=True)"),
    )
    assert broken(play_file(app)) == set()


@pytest.mark.parametrize(("app", "holds"), [("bad", False), ("threading_lock", True)])
def test_one_worker(app: str, holds: bool) -> None:
    """Threads oversell without further processes; there a lock in the process helps."""
    skip_if_missing(SLUG)
    topic = catalog.find(SLUG)
    target = topic.app("bad") if app == "bad" else str(topic.folder / "fakes" / f"{app}.py")
    result = asyncio.run(stage.play(topic.experiment, target, workers=1))
    assert result.holds is holds


@pytest.mark.parametrize(("drill", "server"), rotated_drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """A held row costs 503s, a killed worker one answer; the books agree in both."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


EARLY = (
    "    sale = Sale(item_id=ITEM)\n",
    "    session.commit()\n    sale = Sale(item_id=ITEM)\n",
)


def test_early_commit_breaks_the_drill_only(tmp_path: Path) -> None:
    """The drill can fail: a commit before the ledger loses the row of the killed worker."""
    app = changed(tmp_path, "good.py", EARLY)
    assert broken(play_file(app)) == set()
    experiment = catalog.find(SLUG).drill("killed_midway")
    assert broken(play_file(app, experiment)) == {"unaccounted"}


def test_without_lock_timeout_nobody_is_answered() -> None:
    """The other drill can fail, too: PostgreSQL's own default, 0, waits for ever."""
    drill = catalog.find(SLUG).drill("row_locked")

    async def impatient(cluster) -> None:  # type: ignore[no-untyped-def]
        exchanges = [
            cluster.request("POST", "/purchases", step="locked", timeout=3) for _ in range(8)
        ]
        await asyncio.gather(*exchanges)
        await cluster.stop_service("stocktake")
        await asyncio.gather(
            *(cluster.request("GET", "/stock", step="stock") for _ in range(40))
        )

    experiment: Experiment = replace(
        drill, traffic=impatient, environment={"LOCK_TIMEOUT": "0"}, may_lose_requests=True
    )
    result = play(SLUG, "good", ANY, 4, experiment)
    assert {e.status for e in result.trace.step("locked")} == {None}


def test_for_update_is_nothing_on_sqlite() -> None:
    """SQLAlchemy leaves the clause out where the database does not know it."""
    statement = select(Item.quantity).with_for_update()
    assert str(statement.compile(dialect=postgresql.dialect())).endswith("FOR UPDATE")
    on_sqlite = str(statement.compile(dialect=sqlite.dialect()))
    assert " ".join(on_sqlite.split()) == "SELECT items.quantity FROM items"


WAITER = """
import os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"], options=os.environ["OPTIONS"]) as waiter:
    waiter.execute("LOCK TABLE t")
"""


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether *condition* became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


DEFAULTS = """SELECT current_setting('client_connection_check_interval'),
current_setting('lock_timeout'), current_setting('default_transaction_isolation')"""


async def _killed_while_waiting(options: str) -> tuple[bool, object]:
    """Whether the wait of a killed client ended while the lock was held; the defaults."""
    async with postgres() as service:
        url = service.env["DATABASE_URL"]
        with psycopg.connect(url) as holder:
            default = holder.execute(DEFAULTS).fetchone()
            holder.execute("CREATE TABLE t ()")
            holder.commit()
            holder.execute("LOCK TABLE t")
            waiter = subprocess.Popen(
                [sys.executable, "-c", WAITER],
                env={**os.environ, "DATABASE_URL": url, "OPTIONS": options},
            )
            assert until(lambda: service.measure("waiting") == 1, 30)
            waiter.kill()
            waiter.wait()
            return until(lambda: service.measure("waiting") == 0, 3), default


def test_postgres_looks_after_a_waiting_client_only_when_told() -> None:
    """A killed client's wait goes on, unless client_connection_check_interval is set."""
    skip_if_missing(SLUG)
    assert asyncio.run(_killed_while_waiting("")) == (False, ("0", "0", "read committed"))
    ended, _ = asyncio.run(_killed_while_waiting("-c client_connection_check_interval=200ms"))
    assert ended


async def _idle_holder() -> str:
    async with postgres() as service:
        options = "-c idle_in_transaction_session_timeout=200ms"
        with psycopg.connect(service.env["DATABASE_URL"], options=options) as holder:
            holder.execute("SELECT 1")
            assert until(lambda: service.measure("backends") == 0, 30)
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout) as ended:
                holder.execute("SELECT 1")
        return str(ended.value)


def test_postgres_can_end_who_sits_in_a_transaction() -> None:
    """idle_in_transaction_session_timeout, which the page recommends for the batch."""
    skip_if_missing(SLUG)
    assert "idle-in-transaction timeout" in asyncio.run(_idle_holder())
