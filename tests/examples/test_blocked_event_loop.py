"""blocked_event_loop: a blocking call in async def stops a worker; def gives it a thread."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import anyio.from_thread
import anyio.to_thread
import psycopg
import pytest
import redis
from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.testclient import TestClient
from gunicorn.config import make_settings
from uvicorn.main import main as uvicorn_command

from contract import FOUR, broken, drills, fakes, play
from helpers import wait_until
from workerlab import catalog, recording, stage
from workerlab.cluster import Cluster
from workerlab.experiment import Result
from workerlab.servers import SERVERS
from workerlab.trace import Exchange, Trace

SLUG = "blocked_event_loop"
TOPIC = catalog.find(SLUG)
STALL = {"meanwhile", "stalled", "overlap"}
four = pytest.mark.parametrize(("server", "workers"), FOUR)
servers = pytest.mark.parametrize("server", list(SERVERS))
gunicorns = pytest.mark.parametrize("server", [s for s in SERVERS if s != "uvicorn"])


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@four
def test_bad_lets_every_probe_wait(server: str, workers: int) -> None:
    """No probe is answered beside a report, and none before the first report."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == STALL
    assert observed(result, "overlap") == 0


@four
def test_good_answers_probes_meanwhile(server: str, workers: int) -> None:
    """All 20 probes come back before the first of 12 reports, none has to wait."""
    assert broken(play(SLUG, "good", server, workers)) == set()


def test_eight_workers_do_not_help() -> None:
    """Twelve reports stop eight workers as well."""
    assert broken(play(SLUG, "bad", "uvicorn", 8)) == STALL


@four
@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """More threads, a time limit, a task, a dependency: the call stays on the loop."""
    result = play(SLUG, fake, server, workers)
    assert observed(result, "overlap") == 0
    if fake == "async_dependency":  # its def part lets some probes, at times all, slip through
        assert {"overlap"} <= broken(result) <= STALL
    else:
        assert broken(result) == STALL


@servers
@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """With 40 reports in each worker, def probes wait and async def probes do not."""
    assert broken(play(SLUG, "good", server, 4, TOPIC.drill(drill))) == set()


def changed(tmp_path: Path, name: str, *changes: tuple[str, str]) -> str:
    """A copy of one of the topic's apps, with some text replaced."""
    text = (TOPIC.folder / name).read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    app = tmp_path / name
    app.write_text(text, encoding="utf-8")
    return str(app)


def test_drill_can_fail(tmp_path: Path) -> None:
    """With 4000 threads the def probes don't wait: the 40 are what fills up."""
    limit = (
        "@app.middleware('http')\n"
        "async def widen(request, call_next):\n"
        "    from anyio import to_thread\n\n"
        "    to_thread.current_default_thread_limiter().total_tokens = 4000\n"
        "    return await call_next(request)\n\n\n"
    )
    app = changed(tmp_path, "good.py", ('@app.get("/healthz")', limit + '@app.get("/healthz")'))
    result = asyncio.run(stage.play(TOPIC.drill("threads_full"), app))
    assert "ready_stalled" in broken(result)


@pytest.mark.parametrize("app", ["in_thread.py", "in_process.py"])
def test_other_way_holds(app: str) -> None:
    """run_in_threadpool, and a process for computing, as the page shows them."""
    result = asyncio.run(stage.play(TOPIC.experiment, str(TOPIC.folder / app)))
    assert result.conclusive
    assert broken(result) == set()


def longest_silence(call: Callable[[], object]) -> float:
    """The longest part of *call*, from 0 to 1, in which another thread did not get to run."""
    stamps: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            stamps.append(time.perf_counter())
            time.sleep(0.001)

    with ThreadPoolExecutor(1) as other:
        other.submit(tick)
        wait_until(lambda: stamps, "the first tick")
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        done.set()
    inside = [start, *(stamp for stamp in stamps if start < stamp < end), end]
    return max(after - before for before, after in pairwise(inside)) / (end - start)


def test_a_sum_lets_no_other_thread_run() -> None:
    """One call into C keeps the GIL to its end; a wait, and a Python loop, give it away."""

    def python_loop() -> None:
        for number in range(10_000_000):
            number + 1

    assert longest_silence(lambda: sum(range(20_000_000))) > 0.6
    assert longest_silence(lambda: time.sleep(1)) < 0.6
    assert longest_silence(python_loop) < 0.6


def test_json_of_a_large_answer_lets_no_other_thread_run() -> None:
    """json.dumps and sorted are such calls too."""
    numbers = [str(number) for number in range(2_000_000)]
    assert longest_silence(lambda: json.dumps(numbers)) > 0.6
    assert longest_silence(lambda: sorted(numbers)) > 0.6


def submit_until_it_breaks(pool: ProcessPoolExecutor) -> None:
    """Submit small jobs until the pool has noticed that a process is gone."""
    while True:
        pool.submit(os.getpid).result(60)


def test_pool_without_one_process_is_broken_for_good() -> None:
    """Kill a process of the pool: this and every later job raises BrokenProcessPool."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        os.kill(pool.submit(os.getpid).result(60), signal.SIGKILL)
        with pytest.raises(BrokenProcessPool):
            submit_until_it_breaks(pool)
        with pytest.raises(BrokenProcessPool):
            pool.submit(os.getpid)


@contextlib.contextmanager
def slow_server() -> Iterator[str]:
    """An address that accepts a connection, and closes it after a while without a word."""

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0]:
            time.sleep(0.3)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as other:
        served = other.submit(serve, listener)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        served.result(30)


def ask_by_urllib(address: str) -> object:
    return urllib.request.urlopen(f"http://{address}/", timeout=5)


def ask_by_redis(address: str) -> object:
    return redis.Redis.from_url(f"redis://{address}/0", socket_timeout=5, retry=None).ping()


def ask_by_psycopg(address: str) -> object:
    host, port = address.split(":")
    return psycopg.connect(host=host, port=port, user="nobody", connect_timeout=5)


@pytest.mark.parametrize("ask", [ask_by_urllib, ask_by_redis, ask_by_psycopg])
def test_synchronous_client_stops_the_loop(ask: Callable[[str], object]) -> None:
    """While it waits for its answer in a coroutine, the loop does nothing else."""

    async def turns() -> int:
        count = 0

        async def other() -> None:
            nonlocal count
            while True:
                count += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await asyncio.sleep(0.01)
        assert count
        with slow_server() as address:
            before = count
            with pytest.raises((OSError, redis.ConnectionError, psycopg.OperationalError)):
                ask(address)
            after = count
        task.cancel()
        return after - before

    assert asyncio.run(turns()) == 0


def thread_names() -> tuple[FastAPI, dict[str, str]]:
    """An app that notes in which thread each kind of function runs."""
    app, names = FastAPI(), dict[str, str]()

    def note(kind: str) -> None:
        names[kind] = threading.current_thread().name

    async def async_dependency() -> None:
        note("async dependency")

    def def_dependency() -> None:
        note("def dependency")

    @app.get("/def", dependencies=[Depends(async_dependency), Depends(def_dependency)])
    def def_route() -> None:
        note("def")

    @app.get("/async")
    async def async_route() -> None:
        note("async")

    return app, names


def test_only_def_functions_get_a_thread() -> None:
    """Routes and dependencies alike: async def on the loop, def in a worker thread."""
    app, names = thread_names()
    with TestClient(app) as client:
        assert client.get("/def").status_code == 200
        assert client.get("/async").status_code == 200
    in_threads = {kind for kind, name in names.items() if "AnyIO worker thread" in name}
    assert in_threads == {"def", "def dependency"}
    assert names["async"] == names["async dependency"]


def test_a_worker_has_forty_threads() -> None:
    """The limit that Starlette leaves as anyio sets it."""

    async def limit() -> float:
        return anyio.to_thread.current_default_thread_limiter().total_tokens

    assert asyncio.run(limit()) == 40


def test_run_in_threadpool_takes_one_of_the_same_forty() -> None:
    """While it runs, a def route has one thread less."""
    app = FastAPI()

    def borrowed() -> int:
        return anyio.from_thread.run_sync(
            lambda: anyio.to_thread.current_default_thread_limiter().borrowed_tokens
        )

    @app.get("/def")
    def def_route() -> int:
        return borrowed()

    @app.get("/async")
    async def async_route() -> int:
        return await run_in_threadpool(borrowed)

    with TestClient(app) as client:
        assert client.get("/def").json() == client.get("/async").json() == 1


STUCK = """
    import ctypes
    import time

    from fastapi import FastAPI

    app = FastAPI()
    libc = ctypes.PyDLL(None)  # PyDLL keeps the GIL during a call


    @app.get("/loop/{seconds}")
    async def block_the_loop(seconds: int) -> None:
        time.sleep(seconds)


    @app.get("/thread/{seconds}")
    def block_a_thread(seconds: int) -> None:
        time.sleep(seconds)


    @app.get("/gil/{seconds}")
    def keep_the_gil(seconds: int) -> None:
        libc.sleep(seconds)
"""


def ask_stuck(
    tmp_path: Path, server: str, options: tuple[str, ...], *paths: str
) -> tuple[list[Exchange], list[bool]]:
    """Ask one path after the other; per path, whether all workers are still the same."""
    app = tmp_path / "stuck.py"
    app.write_text(textwrap.dedent(STUCK), encoding="utf-8")

    async def ask() -> tuple[list[Exchange], list[bool]]:
        answers, same = [], []
        async with SERVERS[server](str(app), workers=2, options=options) as cluster:
            for path in paths:
                before = await cluster.workers()
                answer = await cluster.request("GET", path, step="ask", timeout=30)
                answers.append(answer)
                same.append(await still_the_same(cluster, before, 0 if answer.ok else 30))
        return answers, same

    return asyncio.run(ask())


async def still_the_same(cluster: Cluster, before: list[int], seconds: float) -> bool:
    """Whether no worker was replaced; after a lost answer that may show a moment later."""
    deadline = time.monotonic() + seconds
    while (same := await cluster.workers() == before) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return same


def test_uvicorn_does_not_notice_a_blocked_loop(tmp_path: Path) -> None:
    """Its health check asks a thread: a loop blocked for 3 s outlives a limit of 1 s."""
    answers, same = ask_stuck(
        tmp_path, "uvicorn", ("--timeout-worker-healthcheck=1",), "/loop/3"
    )
    assert [e.status for e in answers] == [200]
    assert same == [True]


def test_uvicorn_kills_a_worker_that_keeps_the_gil(tmp_path: Path) -> None:
    """No thread can answer then, so the worker dies and with it the connection."""
    answers, same = ask_stuck(
        tmp_path, "uvicorn", ("--timeout-worker-healthcheck=1",), "/gil/20"
    )
    assert [e.status for e in answers] == [None]
    assert same == [False]


@gunicorns
def test_gunicorn_kills_a_worker_whose_loop_is_blocked(tmp_path: Path, server: str) -> None:
    """--timeout is about the loop: a thread may take longer, a loop that stands may not."""
    answers, same = ask_stuck(
        tmp_path,
        server,
        ("--timeout=1", "--graceful-timeout=1"),
        "/thread/3",
        "/loop/20",
        "/gil/20",
    )
    assert [e.status for e in answers] == [200, None, None]
    assert same[:2] == [True, False]


def test_defaults_are_5_and_30_seconds() -> None:
    """uvicorn's limit for its ping, gunicorn's for a silent worker."""
    uvicorn = {p.name: p.default for p in uvicorn_command.params}
    assert uvicorn["timeout_worker_healthcheck"] == 5
    assert make_settings()["timeout"].default == 30


def test_verdict_does_not_depend_on_the_clock() -> None:
    """The experiment reads order and counts only: stretching time changes nothing."""
    recorded = json.loads(recording.Paths(topic=TOPIC).trace("good").read_text("utf-8"))
    trace = Trace.from_dict(recorded["trace"])
    trace.exchanges[:] = [replace(e, start=e.start * 7, end=e.end * 7) for e in trace.exchanges]
    again = [invariant.judge(trace).observed for invariant in TOPIC.experiment.invariants]
    assert again == [invariant["observed"] for invariant in recorded["invariants"]]
