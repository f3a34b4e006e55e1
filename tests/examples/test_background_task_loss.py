"""background_task_loss: a task dies with its worker, a row and a queue outlive them all."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis
from gunicorn.config import make_settings

from contract import FOUR, broken, drills, fakes, play
from helpers import wait_until
from workerlab import catalog, stage
from workerlab.catalog import ROOT
from workerlab.cluster import burst
from workerlab.experiment import Experiment, Result
from workerlab.files import files
from workerlab.servers import SERVERS
from workerlab.valkey import private_valkey

SLUG = "background_task_loss"
TOPIC = catalog.find(SLUG)
EXPERIMENT = TOPIC.experiment
FOLDER = TOPIC.folder
BREAKS = {
    "create_task": {"issued"},
    "enqueue_first": {"issued"},
    "poll_without_claim": {"repeated"},
    "retry_loop": {"issued"},
}
servers = pytest.mark.parametrize(("server", "workers"), FOUR)


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@servers
def test_bad_loses_what_the_killed_worker_had(server: str, workers: int) -> None:
    """Every order got its 202, and those whose worker died never get their receipt."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"issued"}
    (killed,) = {event.worker for event in result.trace.events if event.worker is not None}
    accepted_there = sum(e.worker == killed for e in result.trace.step("order"))
    lost = 30 - observed(result, "issued")
    assert 1 <= lost <= accepted_there


@servers
def test_good_keeps_every_promise_once(server: str, workers: int) -> None:
    """The row is committed before the 202, and a process outside of the server keeps it."""
    assert broken(play(SLUG, "good", server, workers)) == set()


@servers
@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """Three lose receipts, one makes too many."""
    assert broken(play(SLUG, fake, server, workers)) == BREAKS[fake]


def drills_and_servers() -> list[tuple[str, str]]:
    """Each drill on one server, another one each time: what fails is behind the servers."""
    return [
        *zip((name for name in drills(SLUG) if name != "client_left"), SERVERS, strict=True),
        ("client_left", "gunicorn-asgi"),
    ]


@pytest.mark.parametrize(("drill", "server"), drills_and_servers())
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """A lost queue worker, a double delivery, an empty Valkey: 30 receipts, each once."""
    assert broken(play(SLUG, "good", server, 4, TOPIC.drill(drill))) == set()


def impatient(monkeypatch: pytest.MonkeyPatch, drill: str, seconds: float) -> None:
    """Where nothing will come any more, do not wait as long as for good.py."""
    monkeypatch.setitem(TOPIC.drill(drill).traffic.__globals__, "PATIENCE", seconds)


def test_bad_loses_everything_when_clients_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """gunicorn's asgi worker cancels a task 3 seconds after its client has gone: 0 of 30."""
    impatient(monkeypatch, "client_left", 6)
    result = play(SLUG, "bad", "gunicorn-asgi", 4, TOPIC.drill("client_left"))
    assert broken(result) == {"issued"}
    assert observed(result, "issued") == 0
    assert make_settings()["asgi_disconnect_grace_period"].default == 3


@pytest.mark.parametrize(
    ("server", "options"),
    [
        ("uvicorn", ()),
        ("gunicorn-uvicorn", ()),
        ("gunicorn-asgi", ("--asgi-disconnect-grace-period=30",)),
    ],
)
def test_bad_finishes_when_clients_leave_elsewhere(
    server: str, options: tuple[str, ...]
) -> None:
    """The other servers do not cancel, and a longer grace period helps the third one."""
    experiment = dataclasses.replace(
        TOPIC.drill("client_left"), servers=frozenset(), options=options, beside=()
    )
    assert broken(play(SLUG, "bad", server, 4, experiment)) == set()


# -- drills that fail ---------------------------------------------------------------------


def variant(folder: Path, name: str, of: str, *changes: tuple[str, str]) -> Path:
    """A copy of one of the topic's files, with some text replaced."""
    text = (FOLDER / of).read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, (of, old)
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def with_queue(drill: str, broker: str) -> Experiment:
    """The drill with another queue worker."""
    experiment = TOPIC.drill(drill)
    (beside,) = experiment.beside
    command = ("taskiq", "worker", broker, "--workers=2")
    return dataclasses.replace(
        experiment, beside=(dataclasses.replace(beside, command=command),)
    )


def test_without_resending_a_killed_job_stays_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """taskiq alone does not bring back what the killed queue worker had in its hands."""
    variant(
        tmp_path, "eager_tasks.py", "tasks.py", ("RESEND_SECONDS = 5", "RESEND_SECONDS = 3600")
    )
    impatient(monkeypatch, "queue_killed", 4)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    experiment = with_queue("queue_killed", "eager_tasks:broker")
    result = asyncio.run(stage.play(experiment, TOPIC.app("good"), workers=4))
    assert "issued" in broken(result)


def test_without_a_unique_row_a_double_delivery_has_two_effects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same drill, the same queue, no UNIQUE: more receipts than orders."""
    here = ("examples.background_task_loss.database", "loose_database")
    variant(tmp_path, "loose_database.py", "database.py", (" UNIQUE", ""))
    app = variant(tmp_path, "loose_good.py", "good.py", here)
    variant(
        tmp_path,
        "loose_tasks.py",
        "tasks.py",
        here,
        (" ON CONFLICT (order_id) DO NOTHING", ""),
        ("idle_timeout=60_000", "idle_timeout=500"),
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    experiment = with_queue("delivered_twice", "loose_tasks:broker")
    result = asyncio.run(stage.play(experiment, str(app), workers=4))
    assert broken(result) == {"repeated"}


def test_enqueueing_after_the_commit_loses_orders_while_the_queue_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writes to two stores: the order is there, the job is not, the client got a 500."""
    app = variant(
        tmp_path,
        "commit_first.py",
        "fakes/enqueue_first.py",
        (
            "        from_thread.run(issue_receipt.kiq, added.lastrowid)\n"
            "        time.sleep(CONFIRM_SECONDS)\n",
            "    from_thread.run(issue_receipt.kiq, added.lastrowid)\n",
        ),
    )
    impatient(monkeypatch, "valkey_restart", 4)
    result = asyncio.run(stage.play(TOPIC.drill("valkey_restart"), str(app), workers=4))
    assert broken(result) == {"accepted", "issued"}
    assert sum(e.status == 500 for e in result.trace.step("order")) == 20


# -- SIGTERM --------------------------------------------------------------------------------


async def orders_and_receipts_after_sigterm(server: str) -> tuple[int, int]:
    """30 orders of a second each to bad.py, SIGTERM to the supervisor, then look."""
    async with files() as folder:
        cluster = SERVERS[server](
            TOPIC.app("bad"), workers=4, cwd=ROOT, services={"files": folder}
        )
        async with cluster:
            await burst(
                cluster, 30, "POST", "/orders", step="order", concurrency=15, json={"lines": 10}
            )
            os.kill(cluster.supervisor, signal.SIGTERM)
            await asyncio.to_thread(
                wait_until, lambda: cluster._supervisor.poll() is not None, "the end"
            )
        path = Path(folder.env["DATA_DIR"], "orders.db")
        with contextlib.closing(sqlite3.connect(path)) as db:
            (orders,) = db.execute("SELECT count(*) FROM orders").fetchone()
            (issued,) = db.execute("SELECT count(*) FROM receipts").fetchone()
            return orders, issued


@pytest.mark.parametrize("server", SERVERS)
def test_sigterm_and_background_tasks(server: str) -> None:
    """uvicorn and its gunicorn worker wait for the tasks; gunicorn's asgi worker does not."""
    orders, issued = asyncio.run(orders_and_receipts_after_sigterm(server))
    assert orders == 30
    if server == "gunicorn-asgi":
        assert issued < 30
    else:
        assert issued == 30


# -- taskiq ---------------------------------------------------------------------------------

JOBS = """
import asyncio, os, pathlib
from taskiq_redis import RedisStreamBroker
broker = RedisStreamBroker(os.environ["REDIS_URL"], **eval(os.environ.get("OPTIONS", "{}")))
DONE = pathlib.Path(os.environ["DONE"])

@broker.task
async def write(text: str, seconds: float = 0) -> None:
    with DONE.open("a") as file:
        file.write(f"began {text}\\n")
    await asyncio.sleep(seconds)
    with DONE.open("a") as file:
        file.write(f"ended {text}\\n")

@broker.task
async def fail() -> None:
    with DONE.open("a") as file:
        file.write("failed\\n")
    raise RuntimeError("no paper")

async def send(*jobs):
    for job, arguments in jobs:
        await globals()[job].kiq(*arguments)
    await broker.connection_pool.disconnect()
"""


class Queue:
    """jobs.py in a folder, a Valkey, and taskiq workers of it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.done = folder / "done"
        self.env = {**os.environ, "REDIS_URL": url, "DONE": str(self.done)}
        self.client = redis.from_url(url)
        self.started: list[subprocess.Popen[bytes]] = []
        (folder / "jobs.py").write_text(JOBS)

    def work(self, options: str = "{}") -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "taskiq", "worker", "jobs:broker", "--workers=1"],
            cwd=self.folder,
            env={**self.env, "OPTIONS": options},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def send(self, *jobs: tuple[str, tuple[object, ...]]) -> None:
        code = f"import asyncio, jobs; asyncio.run(jobs.send(*{jobs!r}))"
        subprocess.run([sys.executable, "-c", code], cwd=self.folder, env=self.env, check=True)

    def lines(self) -> list[str]:
        return self.done.read_text().splitlines() if self.done.exists() else []

    def wait(self, look: Callable[[], object], what: str) -> None:
        wait_until(look, what, timeout=30)

    def consumers(self) -> int:
        """How often a worker has asked for messages so far."""
        stats = self.client.info("commandstats")
        return int(stats.get("cmdstat_xreadgroup", {}).get("calls", 0))

    def pending(self) -> int:
        return int(self.client.xpending("taskiq", "taskiq")["pending"])

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in self.started:
            self.kill(process)
        self.client.close()


@contextlib.asynccontextmanager
async def queue(folder: Path) -> AsyncIterator[Queue]:
    async with private_valkey() as valkey:
        made = Queue(folder, valkey.env["REDIS_URL"])
        try:
            yield made
        finally:
            made.close()


def with_taskiq(folder: Path, look: Callable[[Queue], None]) -> None:
    async def block() -> None:
        async with queue(folder) as made:
            await asyncio.to_thread(look, made)

    asyncio.run(block())


def test_taskiq_takes_over_a_lost_job_only_when_a_new_one_comes(tmp_path: Path) -> None:
    """An idle queue never brings it back: XAUTOCLAIM follows a read that found something."""

    def look(made: Queue) -> None:
        options = "{'idle_timeout': 200, 'xread_block': 200, 'consumer_id': '0'}"
        first = made.work(options)
        made.send(("write", ("lost", 60)))
        made.wait(lambda: made.lines() == ["began lost"], "the job to begin")
        made.kill(first)
        made.work(options)
        asked = made.consumers()
        made.wait(lambda: made.consumers() > asked + 10, "ten more looks at the stream")
        assert made.lines() == ["began lost"]
        made.send(("write", ("new",)))
        made.wait(lambda: made.lines().count("began lost") == 2, "the lost job again")

    with_taskiq(tmp_path, look)


def test_taskiq_acknowledges_a_job_that_raised(tmp_path: Path) -> None:
    """An exception is an answer: the job is not delivered again. Neither is deleted."""

    def look(made: Queue) -> None:
        made.work("{'consumer_id': '0'}")
        made.send(("fail", ()), ("write", ("after",)))
        made.wait(lambda: "ended after" in made.lines(), "the job after it")
        made.wait(lambda: made.pending() == 0, "both to be acknowledged")
        assert made.lines().count("failed") == 1
        assert made.client.xlen("taskiq") == 2, "what is done stays in the stream"

    with_taskiq(tmp_path, look)


def test_taskiq_skips_by_default_what_was_sent_before_the_group(tmp_path: Path) -> None:
    """consumer_id "$" begins after the latest message, "0" with the first."""

    def look(made: Queue) -> None:
        made.send(("write", ("early",)))
        made.work()
        made.wait(lambda: made.consumers() > 0, "the worker to ask")
        made.send(("write", ("late",)))
        made.wait(lambda: "ended late" in made.lines(), "the late job")
        assert "began early" not in made.lines()

    with_taskiq(tmp_path, look)
