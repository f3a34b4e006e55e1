"""What docs/workers/how_many_workers.md says, run; its benchmark is only drawn again."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from gunicorn.config import make_settings

from helpers import wait_until
from tools import sweep
from tools.cpu_quota import cpu_quota
from workerlab.catalog import ROOT
from workerlab.processes import kill_group, python_module
from workerlab.uvicorn import UvicornCluster

COUNT = "import os; print(os.cpu_count(), os.process_cpu_count())"


def counted(*before: str) -> list[int]:
    """What Python counts, run behind the words *before*."""
    command = [*before, sys.executable, "-c", COUNT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_python_does_not_see_a_quota(tmp_path: Path) -> None:
    """In half a core both counters say what they say outside; the cgroup's file knows."""
    try:
        with sweep.cpu_quota(0.5) as group:
            assert counted(*sweep.inside(group, [])) == counted()
            (tmp_path / "cpu").symlink_to(group)
            assert cpu_quota(tmp_path) == 0.5
    except OSError as error:
        pytest.skip(f"root で cgroup v1 を作れるマシンで確かめます: {error}")


def test_quota_stops_who_has_used_it_up() -> None:
    """The kernel counts how often it held the cgroup back."""
    try:
        with sweep.cpu_quota(0.05) as group:
            burn = sweep.inside(group, [sys.executable, "-c", "while True: pass"])
            with subprocess.Popen(burn) as process:
                try:
                    wait_until(lambda: throttled(group) > 0, "being held back", timeout=60)
                finally:
                    process.kill()
    except OSError as error:
        pytest.skip(f"root で cgroup v1 を作れるマシンで確かめます: {error}")


def throttled(group: Path) -> int:
    words = (group / "cpu.stat").read_text(encoding="utf-8").split()
    return int(words[words.index("nr_throttled") + 1])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="2 コア以上で確かめます")
def test_python_sees_which_cores_it_may_use() -> None:
    """taskset changes os.process_cpu_count(), not os.cpu_count()."""
    core = min(os.sched_getaffinity(0))
    assert counted("taskset", "-c", str(core)) == [os.cpu_count(), 1]


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.25),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_quota_is_read(files: dict[str, str], cores: float | None, tmp_path: Path) -> None:
    """From files in the form of either version of cgroups."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert cpu_quota(tmp_path) == cores


def test_rule_comes_from_a_server_whose_default_is_sync() -> None:
    """gunicorn's own help says 2-4 per core; without -k a worker is a sync one."""
    settings = make_settings()
    assert "2-4 x $(NUM_CORES)" in settings["workers"].desc
    assert settings["worker_class"].default == "sync"


SYNC = """
import threading, time
lock, now, most = threading.Lock(), 0, 0

def app(environ, start_response):
    global now, most
    with lock:
        now += 1
        most = max(most, now)
    time.sleep(0.2)
    with lock:
        now -= 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(most).encode()]
"""
ASYNC = """
import asyncio
from fastapi import FastAPI

app = FastAPI()
now = most = 0
everybody = asyncio.Event()

@app.get("/")
async def read() -> int:
    global most
    most += 1
    if most == 8:
        everybody.set()
    await everybody.wait()
    return most
"""


@pytest.mark.parametrize(("kind", "code", "most"), [("sync", SYNC, 1), ("asgi", ASYNC, 8)])
def test_sync_worker_does_one_thing_at_a_time(
    kind: str, code: str, most: int, tmp_path: Path
) -> None:
    """Eight requests at once: one after the other in sync, all of them waiting in asgi."""
    (tmp_path / "made_here.py").write_text(code, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        process = subprocess.Popen(
            python_module(
                "gunicorn",
                "made_here:app",
                f"--bind=fd://{listener.fileno()}",
                f"--worker-class={kind}",
                "--no-control-socket",
            ),
            pass_fds=[listener.fileno()],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def ask(_: int) -> int:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return int(answer.read())

    try:
        with ThreadPoolExecutor(8) as pool:
            assert max(pool.map(ask, range(8))) == most
    finally:
        kill_group(process.pid)
        process.wait()


def test_benchmark_still_runs() -> None:
    """Both routes of its app are answered, and counted."""

    async def look() -> list[sweep.Point]:
        async with UvicornCluster(str(sweep.APP), workers=2, cwd=ROOT) as cluster:
            return [await sweep.measure(cluster, kind, 2) for kind in sweep.KINDS]

    assert all(point.per_second > 0 for point in asyncio.run(look()))


def test_tables_follow_from_the_recorded_numbers() -> None:
    """Nothing was typed into them, and what the page shows is there."""
    derived = sweep.derived()
    assert {"cost.txt", "start.txt"} <= {path.name for path in derived}
    for path, wanted in derived.items():
        assert path.read_text(encoding="utf-8") == wanted, path


def test_recorded_cost_is_what_the_page_makes_of_it() -> None:
    """Waiting costs little, computing the same with any number, a start more with each."""
    rows = json.loads((sweep.FOLDER / "cost.json").read_text("utf-8"))["rows"]
    assert all(row["wait"] < 20 for row in rows)  # of the 100 ms that it takes
    computing = [row["compute"] for row in rows]
    assert max(computing) < 1.5 * min(computing)
    starts = [row["start"] for row in rows]
    assert starts == sorted(starts)
    assert starts[-1] > 2 * starts[0]
