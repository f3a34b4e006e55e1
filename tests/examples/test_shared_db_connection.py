"""shared_db_connection: one connection mixes transactions; a session per request does not."""

import asyncio
import threading
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine

from contract import ANY, FOUR, broken, drills, fakes, play, skip_if_missing
from workerlab import catalog, stage
from workerlab.experiment import Result
from workerlab.postgres import MAX_CONNECTIONS, postgres
from workerlab.servers import SERVERS

SLUG = "shared_db_connection"
FORKING = ("gunicorn-asgi", "gunicorn-uvicorn")
stages = pytest.mark.parametrize(("server", "workers"), FOUR)


def observed(result: Result, name: str) -> float:
    """What the run showed for the invariant *name*."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


def wrong_answers(result: Result) -> float:
    """Answers that the table of orders contradicts."""
    return observed(result, "missing") + observed(result, "ghosts")


@stages
def test_bad_mixes_transactions(server: str, workers: int) -> None:
    """Every order is answered, but accepted ones are gone and refused ones are kept."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"missing", "ghosts"}
    orders = result.trace.step("order")
    last = {
        pid: [e.value for e in orders if e.worker == pid][-1] for pid in result.trace.workers
    }
    assert sum(value or 0 for value in last.values()) == wrong_answers(result)  # the picture


@stages
def test_good_keeps_its_word(server: str, workers: int) -> None:
    """With a session per request, what was answered is what is stored."""
    assert broken(play(SLUG, "good", server, workers)) == set()


@stages
@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """A lock per statement, a connection per lifespan, coroutines, a global session."""
    assert "missing" in broken(play(SLUG, fake, server, workers))


def alone(app: str) -> Result:
    """The experiment with a single worker; the contract would not call that a result."""
    skip_if_missing(SLUG)
    return asyncio.run(stage.play(catalog.find(SLUG).experiment, app, workers=1))


def test_one_worker_is_worse_than_four() -> None:
    """It is not about processes: all threads on one connection mix even more."""
    topic = catalog.find(SLUG)
    four = wrong_answers(play(SLUG, "bad", "uvicorn", 4))
    one = wrong_answers(alone(topic.app("bad")))
    assert one > four > 0
    assert wrong_answers(alone(topic.app("good"))) == 0


MARKERS = {
    "app": "app = FastAPI()\n",
    "add": "def add_order(order: Order) -> dict[str, int]:\n",
    "read": "def read_orders() ->",
}


def play_changed(folder: Path, **changes: str) -> Result:
    """The experiment with bad.py, in which each text of *changes* stands for a marker."""
    skip_if_missing(SLUG)
    source = (catalog.find(SLUG).folder / "bad.py").read_text(encoding="utf-8")
    for marker, text in changes.items():
        assert MARKERS[marker] in source, marker
        source = source.replace(MARKERS[marker], text)
    app = folder / "changed.py"
    app.write_text(source, encoding="utf-8")
    return asyncio.run(stage.play(catalog.find(SLUG).experiment, str(app), workers=4))


def test_lock_around_the_whole_transaction_holds(tmp_path: Path) -> None:
    """As the page admits: correct, one order at a time in each worker."""
    lock = "    with lock:\n        return store(order)\n\n\ndef store(order):\n"
    result = play_changed(
        tmp_path,
        app="import threading\n\napp = FastAPI()\nlock = threading.Lock()\n",
        add=MARKERS["add"] + lock,
    )
    assert broken(result) == set()


SEED = """
from typing import Annotated
from fastapi import Depends

app = FastAPI()


def get_db():
    db = psycopg.connect(os.environ["DATABASE_URL"])
    try:
        yield db
    finally:
        db.close()


Db = Annotated[psycopg.Connection, Depends(get_db)]
"""


def test_connection_per_request_holds(tmp_path: Path) -> None:
    """The seed's advice answers rightly, as the page says; it only counts no connections."""
    result = play_changed(
        tmp_path,
        app=SEED,
        add="def add_order(order: Order, connection: Db) -> dict[str, int]:\n",
        read="def read_orders(connection: Db) ->",
    )
    assert broken(result) == set()


DRILL_STAGES = [
    (name, server)
    for name in drills(SLUG)
    for server in SERVERS
    if catalog.find(SLUG).drill(name).plays_on(server)
]


@pytest.mark.parametrize(("drill", "server"), DRILL_STAGES)
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """Too many connections: orders fail, none is wrong; a fork before use: all is right."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


def test_bad_breaks_the_drill_with_too_many_connections() -> None:
    """The drill can fail: bad.py needs 4 connections only, and answers wrongly instead."""
    experiment = catalog.find(SLUG).drill("too_many_connections")
    assert broken(play(SLUG, "bad", ANY, 4, experiment)) == {
        "refused",
        "missing",
        "ghosts",
    }


TRIES = 5
"""Every run breaks; whether a wrong row is among the answers is left to chance."""


@pytest.mark.parametrize("server", FORKING)
def test_connection_from_before_the_fork_returns_rows_of_others(server: str) -> None:
    """With --preload bad.py answers with another request's row; the rest fails or hangs."""
    experiment = catalog.find(SLUG).drill("preload")
    foreign = 0.0
    for _ in range(TRIES):
        result = play(SLUG, "bad", server, 4, experiment)
        assert "right" in broken(result)
        failed = [e for e in result.trace.step("read") if e.status in (500, None)]
        assert failed
        foreign = observed(result, "foreign")
        if foreign:
            break
    assert foreign > 0


async def _create_twice() -> Exception | None:
    create = "CREATE TABLE IF NOT EXISTS orders (number integer PRIMARY KEY)"
    errors: list[Exception] = []
    async with postgres() as server:
        url = server.env["DATABASE_URL"]
        with psycopg.connect(url) as first, psycopg.connect(url) as second:
            first.execute(create)

            def late() -> None:
                try:
                    second.execute(create)
                except psycopg.Error as error:
                    errors.append(error)

            thread = threading.Thread(target=late)
            thread.start()
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            with psycopg.connect(url, autocommit=True) as observer:
                while thread.is_alive() and observer.execute(waiting).fetchone() == (0,):
                    await asyncio.sleep(0.02)
            first.commit()
            thread.join(10)
    return errors[0] if errors else None


def test_create_table_if_not_exists_can_fail_beside_another() -> None:
    """Why the examples take a lock before they create their table, as the page says."""
    skip_if_missing(SLUG)
    assert isinstance(asyncio.run(_create_twice()), psycopg.errors.UniqueViolation)


def test_numbers_of_the_drill_are_the_defaults() -> None:
    """5 + 10 connections per engine, 30 in the database, as the drill says."""
    pool = create_engine("postgresql:///none").pool
    assert (pool.size(), pool._max_overflow) == (5, 10)  # type: ignore[attr-defined]
    assert MAX_CONNECTIONS == 30
