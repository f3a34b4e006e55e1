"""pool_exhaustion: pools of all workers together need a budget, and must be given back."""

import asyncio
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import anyio.to_thread
import pytest
from sqlalchemy import QueuePool, create_engine
from sqlalchemy.exc import OperationalError, TimeoutError

from contract import ANY, FOUR, broken, drills, fakes, play, skip_if_missing
from workerlab import catalog, stage
from workerlab.experiment import Experiment, Result
from workerlab.postgres import MAX_CONNECTIONS, postgres
from workerlab.servers import SERVERS

SLUG = "pool_exhaustion"
stages = pytest.mark.parametrize(("server", "workers"), FOUR)


@stages
def test_bad_overruns_the_database(server: str, workers: int) -> None:
    """Four default pools want 60 of 30 connections: requests fail, the budget is exceeded."""
    assert broken(play(SLUG, "bad", server, workers)) == {"failed", "over_budget"}


@stages
def test_good_stays_in_its_budget(server: str, workers: int) -> None:
    """A budget, and connections given back before slow work: nothing fails."""
    assert broken(play(SLUG, "good", server, workers)) == set()


def test_budget_follows_the_number_of_workers() -> None:
    """Eight workers share the same 20 connections: WEB_CONCURRENCY tells them their number."""
    assert broken(play(SLUG, "good", ANY, 8)) == set()


def test_more_workers_than_connections_do_not_start() -> None:
    """A pool of size 0 would be one without a limit, so good.py refuses."""
    code = "import examples.pool_exhaustion.good"
    env = {**os.environ, "WEB_CONCURRENCY": "21", "DATABASE_URL": "postgresql:///unused"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=catalog.ROOT,
        env=env,
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert "接続の予算より" in done.stderr.decode()
    unlimited = create_engine("sqlite://", poolclass=QueuePool, pool_size=0, max_overflow=0)
    with unlimited.connect(), unlimited.connect(), unlimited.connect():
        pass
    unlimited.dispose()


def test_pool_waits_thirty_seconds_unless_told() -> None:
    """SQLAlchemy's default, which the page names."""
    assert create_engine("postgresql+psycopg://").pool.timeout() == 30  # type: ignore[attr-defined]


BREAKS = {
    "bigger_max_overflow": {"failed", "over_budget"},
    "connection_per_request": {"failed", "over_budget"},
    "leak_on_error": {"failed", "idle"},
}


@stages
@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """More overflow and no pool exceed the budget; a leak leaves transactions open."""
    assert broken(play(SLUG, fake, server, workers)) == BREAKS[fake]


@pytest.mark.parametrize("server", sorted(SERVERS))
@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """When PostgreSQL restarts, good.py goes on without any error."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


def play_changed(
    folder: Path, source: Path, old: str, new: str, experiment: Experiment
) -> Result:
    """The experiment on a copy of *source* in which *old* is *new*."""
    skip_if_missing(SLUG)
    text = source.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    app = folder / "changed.py"
    app.write_text(text.replace(old, new), encoding="utf-8")
    return asyncio.run(stage.play(experiment, str(app), workers=4))


def test_without_pre_ping_the_drill_fails(tmp_path: Path) -> None:
    """The drill can fail, and pool_pre_ping is what makes it hold."""
    topic = catalog.find(SLUG)
    result = play_changed(
        tmp_path,
        topic.folder / "good.py",
        "pool_pre_ping=True",
        "pool_pre_ping=False",
        topic.drill("postgres_restart"),
    )
    assert broken(result) == {"after"}


def test_try_and_finally_mend_the_leak(tmp_path: Path) -> None:
    """The seed's `get_db` gives its connection back after an error, as the page says."""
    topic = catalog.find(SLUG)
    result = play_changed(
        tmp_path,
        topic.folder / "fakes" / "leak_on_error.py",
        "    yield session\n    session.close()\n",
        "    try:\n        yield session\n    finally:\n        session.close()\n",
        topic.experiment,
    )
    assert broken(result) == set()


async def _messages() -> tuple[str, str]:
    """What the 31st client of the database reads, and the 2nd of a pool of one."""
    async with postgres() as server:
        url = server.env["DATABASE_URL"]
        unbounded = create_engine(url, pool_size=MAX_CONNECTIONS + 1)
        small = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.1)
        with ExitStack() as stack:
            stack.callback(small.dispose)
            stack.enter_context(small.connect())
            with pytest.raises(TimeoutError) as waited:
                small.connect()
            stack.callback(unbounded.dispose)
            for _ in range(MAX_CONNECTIONS - 1):  # with the one of `small`: all of them
                stack.enter_context(unbounded.connect())
            with pytest.raises(OperationalError) as refused:
                unbounded.connect()
        return str(refused.value), str(waited.value)


def test_messages_are_those_of_the_page() -> None:
    """What readers search for is what the database and the pool write."""
    skip_if_missing(SLUG)
    refused, waited = asyncio.run(_messages())
    assert "too many clients already" in refused
    assert "QueuePool limit of size 1 overflow 0 reached" in waited


def test_numbers_are_those_of_the_service_and_the_app() -> None:
    """The experiment's limit and budget are the real ones."""
    topic = catalog.find(SLUG)
    module = topic._module
    assert module.MAX_CONNECTIONS == MAX_CONNECTIONS
    good = (topic.folder / "good.py").read_text(encoding="utf-8")
    (budget,) = re.findall(r"^CONNECTION_BUDGET = (\d+)", good, re.MULTILINE)
    assert int(budget) == module.CONNECTION_BUDGET


def test_a_worker_runs_forty_threads() -> None:
    """As the page says: a `def` route has up to 40 threads in each worker."""

    async def tokens() -> float:
        return anyio.to_thread.current_default_thread_limiter().total_tokens

    assert asyncio.run(tokens()) == 40
