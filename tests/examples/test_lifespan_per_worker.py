"""lifespan_per_worker: start-up code runs once per worker, unless a lock is taken first."""

import asyncio
import dataclasses
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from contract import ANY, FOUR, broken, drills, play, rotated_drills, rotated_fakes
from workerlab import catalog, services, stage
from workerlab.catalog import ROOT
from workerlab.cluster import burst
from workerlab.errors import StartupError
from workerlab.experiment import Result
from workerlab.postgres import postgres
from workerlab.uvicorn import UvicornCluster

SLUG = "lifespan_per_worker"
FOLDER = catalog.find(SLUG).folder
stages = pytest.mark.parametrize(("server", "workers"), FOUR)
ALL = {"runs", "rows", "price"}


def observed(result: Result, name: str) -> float:
    """What the run showed for the invariant *name*."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@stages
def test_bad_migrates_in_every_worker(server: str, workers: int) -> None:
    """All looked before one was done: the price is raised more than once."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == ALL
    runs = observed(result, "runs")
    assert 2 <= runs <= workers  # 4 unless the machine is very busy
    assert observed(result, "rows") == 3 * runs
    assert observed(result, "price") == 1000 + 100 * runs


@stages
def test_good_migrates_once(server: str, workers: int) -> None:
    """Whoever gets the lock migrates; the others look after that, and have nothing to do."""
    result = play(SLUG, "good", server, workers)
    assert broken(result) == set()
    assert result.trace.measured("begun") == [1]


@pytest.mark.parametrize(("fake", "server"), rotated_fakes(SLUG))
def test_fake_is_caught(fake: str, server: str) -> None:
    """A number nobody gives, a look before the lock, a constraint on the rows only."""
    caught = ALL - {"rows"} if fake == "unique_rows" else ALL
    assert broken(play(SLUG, fake, server, 4)) == caught


@pytest.mark.parametrize(("drill", "server"), rotated_drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """What a dead or failing migration did is undone, and somebody else does it."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


@pytest.mark.parametrize("drill", drills(SLUG))
def test_bad_breaks_the_drill(drill: str) -> None:
    """The drills can fail: without the lock, all who are left migrate."""
    experiment = catalog.find(SLUG).drill(drill)
    assert {"runs", "price"} <= broken(play(SLUG, "bad", ANY, 4, experiment))


def changed(folder: Path, name: str, **replaced: str) -> str:
    """A copy of bad.py or good.py in which texts are replaced, each found once."""
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    for old, new in replaced.items():
        text = MARKERS[old]
        assert source.count(text) == 1
        source = source.replace(text, new)
    app = folder / "changed.py"
    app.write_text(source, encoding="utf-8")
    return str(app)


MARKERS = {
    "connect": "closing(connect()) as db, db:",
    "lock": 'db.execute("BEGIN IMMEDIATE")  # 調べる前に、書き込みのロックを取る',
    "app": "app = FastAPI(lifespan=lifespan)",
}


def test_without_a_transaction_half_a_migration_stays(tmp_path: Path) -> None:
    """When each statement is final at once, the price is raised by the dead worker as well."""
    app = changed(
        tmp_path,
        "good",
        connect="closing(connect()) as db, (FOLDER / 'lock').open('w') as lock:",
        lock="fcntl.flock(lock, fcntl.LOCK_EX); db.isolation_level = None",
    )
    imports = "import fcntl\nfrom examples.lifespan_per_worker.migrations import FOLDER\n"
    source = Path(app).read_text(encoding="utf-8")
    Path(app).write_text(source.replace("import os\n", f"import os\n{imports}"), "utf-8")
    topic = catalog.find(SLUG)
    assert broken(asyncio.run(stage.play(topic.experiment, app))) == set()
    result = asyncio.run(stage.play(topic.drill("migrator_killed"), app))
    assert broken(result) == {"price"}
    assert observed(result, "price") == 1200


# -- what --preload does, and does not ------------------------------------------------------


def preloaded(app: str, server: str) -> Result:
    """The experiment with ``--preload``; one process imports, so nobody is waited for."""
    experiment = dataclasses.replace(
        catalog.find(SLUG).experiment, options=("--preload",), environment=ALONE
    )
    return asyncio.run(stage.play(experiment, app, server=server))


ALONE = {"WEB_CONCURRENCY": "1"}
GUNICORN = ("gunicorn-asgi", "gunicorn-uvicorn")


@pytest.mark.parametrize("server", GUNICORN)
def test_preload_imports_once_and_starts_lifespan_in_every_worker(
    server: str, tmp_path: Path
) -> None:
    """A line that each writes: one from the import, four from lifespan."""
    app = changed(
        tmp_path,
        "good",
        app=(
            "def write(name):\n"
            "    path = f'{os.environ['DATA_DIR']}/begun-{name}-{os.getpid()}'\n"
            "    open(path, 'w').close()\n"
            "\n\nwrite('import')\n\n\n"
            "@asynccontextmanager\n"
            "async def lifespan(app):\n"
            "    migrate()\n"
            "    write('lifespan')\n"
            "    yield\n\n\n"
            "app = FastAPI(lifespan=lifespan)"
        ),
    )
    result = preloaded(app, server)
    assert broken(result) == set()
    assert result.trace.measured("begun") == [1 + 1 + 4]  # migration, import, lifespans


# -- before the server ----------------------------------------------------------------------


def migrate_before(folder: Path) -> None:
    """What the page tells to run before the server."""
    subprocess.run(
        [sys.executable, "-m", f"examples.{SLUG}.migrate"],
        cwd=ROOT,
        env={**os.environ, "DATA_DIR": str(folder)},
        check=True,
    )


async def plans(app: str, folder: Path) -> list[dict[str, int]]:
    """What four workers answer."""
    async with UvicornCluster(
        app, workers=4, cwd=ROOT, environment={"DATA_DIR": str(folder)}
    ) as cluster:
        return [e.body for e in await burst(cluster, 40, "GET", "/plans", step="read")]


def test_one_step_before_the_server_runs_once(tmp_path: Path) -> None:
    """Then the workers only look; the step a second time changes nothing."""
    migrate_before(tmp_path)
    migrate_before(tmp_path)
    seen = asyncio.run(plans(f"examples.{SLUG}.checked:app", tmp_path))
    assert {(e["price"], e["rows"], e["runs"]) for e in seen} == {(1100, 3, 1)}


CREATES = """
import os, sqlite3
from contextlib import asynccontextmanager
from fastapi import FastAPI

@asynccontextmanager
async def lifespan(app):
    with sqlite3.connect(os.environ["DATABASE"], timeout=30) as database:
        database.execute("CREATE TABLE fees (name TEXT)")
    yield

app = FastAPI(lifespan=lifespan)
"""


def test_second_worker_cannot_create_the_table(tmp_path: Path) -> None:
    """Without IF NOT EXISTS, who comes later does not start."""
    app = tmp_path / "creates.py"
    app.write_text(CREATES, encoding="utf-8")
    database = {"DATABASE": str(tmp_path / "fees.db")}

    async def start(workers: int) -> None:
        async with UvicornCluster(str(app), workers=workers, environment=database):
            pass

    with pytest.raises(StartupError, match="table fees already exists"):
        asyncio.run(start(4))
    (tmp_path / "fees.db").unlink()
    asyncio.run(start(1))


def test_server_refuses_to_start_without_the_step(tmp_path: Path) -> None:
    """It says what to run, instead of answering from an old table."""
    with pytest.raises(StartupError, match=r"python -m examples\.\w+\.migrate"):
        asyncio.run(plans(f"examples.{SLUG}.checked:app", tmp_path))


# -- the databases --------------------------------------------------------------------------


def test_sqlite_undoes_tables_and_version_too(tmp_path: Path) -> None:
    """CREATE TABLE and user_version belong to the transaction, as the page says."""
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE plans (name TEXT)")
        db.execute("PRAGMA user_version = 1")
        db.rollback()
        assert db.execute("PRAGMA user_version").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


needs_postgres = pytest.mark.skipif(
    bool(services.missing(frozenset({"postgres"}))), reason="needs PostgreSQL (make test-all)"
)


def in_threads(work: object, url: str) -> None:
    """Four at once; to PostgreSQL a thread with a connection of its own is a worker."""
    threads = [threading.Thread(target=work, args=[url]) for _ in range(4)]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@needs_postgres
def test_advisory_lock_raises_the_price_once() -> None:
    """Four at once, and another later."""
    from examples.lifespan_per_worker.advisory_lock import migrate

    async def price() -> int:
        async with postgres() as service:
            url = service.env["DATABASE_URL"]
            with psycopg.connect(url, autocommit=True) as db:
                db.execute("CREATE TABLE plans AS SELECT 1000 AS price")
                await asyncio.to_thread(in_threads, migrate, url)
                await asyncio.to_thread(migrate, url)
                return int(db.execute("SELECT price FROM plans").fetchone()[0])  # type: ignore[index]

    assert asyncio.run(price()) == 1100


@needs_postgres
@pytest.mark.parametrize(
    ("level", "seen"),
    [(psycopg.IsolationLevel.READ_COMMITTED, 1), (psycopg.IsolationLevel.REPEATABLE_READ, 0)],
)
def test_look_after_the_lock_needs_read_committed(
    level: psycopg.IsolationLevel, seen: int
) -> None:
    """REPEATABLE READ looks at the time before the lock, and would migrate again."""

    def look(url: str, found: list[int]) -> None:
        with psycopg.connect(url) as late:
            late.isolation_level = level
            late.execute("SELECT pg_advisory_xact_lock(1)")
            found.append(late.execute("SELECT count(*) FROM done").fetchone()[0])  # type: ignore[index]

    async def found() -> list[int]:
        async with postgres() as service:
            return await asyncio.to_thread(wait_for_the_lock, service.env["DATABASE_URL"], look)

    assert asyncio.run(found()) == [seen]


def wait_for_the_lock(url: str, look: object) -> list[int]:
    """Let *look* begin while another holds the lock, and commit a row before it gets it."""
    found: list[int] = []
    with psycopg.connect(url, autocommit=True) as watch:
        watch.execute("CREATE TABLE done (number INTEGER)")
        with psycopg.connect(url) as early:
            early.execute("SELECT pg_advisory_xact_lock(1)")
            thread = threading.Thread(target=look, args=[url, found])  # type: ignore[arg-type]
            thread.start()
            deadline = time.monotonic() + 30
            waiting = (
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            )
            while watch.execute(waiting).fetchone() != (1,):
                assert time.monotonic() < deadline, "nobody waits for the lock"
                time.sleep(0.02)
            early.execute("INSERT INTO done VALUES (1)")
        thread.join(30)
    return found
