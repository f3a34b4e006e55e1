"""Requests per second with 1 to 8 workers, and inside half and a quarter of a core.

    .venv/bin/python tools/sweep.py            # the sweep
    .venv/bin/python tools/sweep.py quota      # CPU quotas: root and cgroup v1 are needed
    .venv/bin/python tools/sweep.py cost       # CPU time of a start and of a request
    .venv/bin/python tools/sweep.py render     # picture and tables from the recorded JSON

A benchmark, not a test: its numbers belong to one machine and one day. Writes
`docs/assets/recordings/how_many_workers/`. Of several rounds the one counts in which other
processes used the least CPU, and how much that was is written down.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path

import psutil

from workerlab.catalog import ROOT
from workerlab.uvicorn import UvicornCluster

APP = ROOT / "tools" / "sweep_app.py"
FOLDER = ROOT / "docs" / "assets" / "recordings" / "how_many_workers"
KINDS = {"wait": "待つ処理", "compute": "計算する処理"}
WORKERS = range(1, 9)
CLIENTS = 32
SECONDS = 2.0
ROUNDS = int(os.environ.get("ROUNDS", "3"))
QUOTAS = (None, 0.5, 0.25)
QUOTA_WORKERS = (1, 2, 5)
"""One, one per core that Python sees, and what 2 × 2 + 1 gives."""
CGROUP = Path("/sys/fs/cgroup/cpu")
PERIOD = 100_000


@dataclass(frozen=True, kw_only=True)
class Point:
    """One measurement."""

    kind: str
    workers: int
    per_second: float
    others: float
    """Cores that processes besides the server and its clients used meanwhile."""


# -- measuring ---------------------------------------------------------------------------------


def own_seconds() -> float:
    """CPU time of this process and of everything below it that is alive."""
    total = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def all_seconds() -> float:
    """CPU time that the machine was busy, stolen time included."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice


async def measure(cluster: UvicornCluster, kind: str, seconds: float = SECONDS) -> Point:
    """Ask with CLIENTS at once for *seconds*; what is answered by then counts."""
    end = time.monotonic() + 0.5  # first requests are slow: they do not count
    answered = 0

    async def ask() -> None:
        nonlocal answered
        while time.monotonic() < end:
            exchange = await cluster.request("GET", f"/{kind}", step=kind, timeout=120)
            answered += exchange.ok and time.monotonic() < end

    await asyncio.gather(*(ask() for _ in range(CLIENTS)))
    answered, begin = 0, time.monotonic()
    before, mine = all_seconds(), own_seconds()
    end = begin + seconds
    await asyncio.gather(*(ask() for _ in range(CLIENTS)))
    took = time.monotonic() - begin
    others = max(0.0, (all_seconds() - before) - (own_seconds() - mine)) / took
    return Point(
        kind=kind,
        workers=cluster.worker_count,
        per_second=answered / seconds,
        others=others,
    )


async def sweep() -> list[Point]:
    """The calmest of ROUNDS measurements of each kind and number of workers."""
    points: dict[tuple[str, int], list[Point]] = {}
    for turn in range(ROUNDS):
        for workers in WORKERS:
            async with UvicornCluster(str(APP), workers=workers, cwd=ROOT) as cluster:
                for kind in KINDS:
                    point = await measure(cluster, kind)
                    print(turn, point, flush=True)
                    points.setdefault((kind, workers), []).append(point)
    return [min(found, key=lambda point: point.others) for found in points.values()]


# -- quotas ------------------------------------------------------------------------------------


@contextlib.contextmanager
def cpu_quota(cores: float) -> Iterator[Path]:
    """A cgroup (v1) that may use *cores*; gone when the block ends.

    Raises:
        OSError: Not root, or no cgroup v1 here.
    """
    if not (CGROUP / "cpu.cfs_quota_us").exists():
        raise FileNotFoundError(f"{CGROUP}: no cgroup v1 with a CPU controller here")
    group = CGROUP / f"workerlab-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(int(cores * PERIOD)))
        yield group
    finally:
        deadline = time.monotonic() + 30
        while group.exists():
            try:
                group.rmdir()
            except OSError:  # its last process is still leaving
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def inside(group: Path, command: Sequence[str]) -> list[str]:
    """*command*, run as a member of the cgroup."""
    join = f'echo $$ > {shlex.quote(str(group / "cgroup.procs"))}; exec "$@"'
    return ["sh", "-c", join, "sh", *command]


class QuotaCluster(UvicornCluster):
    """uvicorn in a cgroup; the clients stay outside."""

    group: Path | None = None

    def command(self, fd: int) -> Sequence[str]:
        """See `ProcessCluster.command`."""
        command = super().command(fd)
        return inside(self.group, command) if self.group else command


async def under_quota(cores: float | None, workers: int) -> dict[str, float]:
    """Start, and compute, with a quota."""
    with contextlib.ExitStack() as stack:
        cluster = QuotaCluster(str(APP), workers=workers, cwd=ROOT, startup_timeout=300)
        if cores is not None:
            cluster.group = stack.enter_context(cpu_quota(cores))
        begin = time.monotonic()
        async with cluster:
            ready = time.monotonic() - begin
            point = await measure(cluster, "compute", 5 * SECONDS)
    return {
        "cores": cores or 0,
        "workers": workers,
        "start": round(ready, 1),
        "per_second": round(point.per_second, 1),
        "others": round(point.others, 2),
    }


async def quotas() -> list[dict[str, float]]:
    """The calmest of ROUNDS, for every quota and number of workers."""
    rows = []
    for cores in QUOTAS:
        for workers in QUOTA_WORKERS:
            found = [await under_quota(cores, workers) for _ in range(ROUNDS)]
            rows.append(min(found, key=lambda row: row["others"]))
            print(rows[-1], flush=True)
    return rows


# -- CPU time, which other load hardly disturbs ------------------------------------------------

COST_WORKERS = (1, 2, 5)
COST_REQUESTS = {"wait": 320, "compute": 64}


def server_seconds(cluster: UvicornCluster) -> float:
    """CPU time of the supervisor and its workers."""
    parent = psutil.Process(cluster.supervisor)
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return sum(each.user + each.system for each in times)


async def cost(workers: int) -> dict[str, float]:
    """CPU seconds until all are ready, and CPU milliseconds for each kind of request."""
    patient = UvicornCluster(str(APP), workers=workers, cwd=ROOT, startup_timeout=900)
    async with patient as cluster:
        row = {"workers": workers, "start": round(server_seconds(cluster), 2)}
        for kind, count in COST_REQUESTS.items():
            for _ in range(4 * workers):  # the first request of a worker costs more
                await cluster.request("GET", f"/{kind}", step="first", timeout=120)
            before = server_seconds(cluster)
            for _ in range(count // CLIENTS):
                answers = await asyncio.gather(
                    *(
                        cluster.request("GET", f"/{kind}", step=kind, timeout=120)
                        for _ in range(CLIENTS)
                    )
                )
                assert all(answer.ok for answer in answers)
            used = server_seconds(cluster) - before
            row[kind] = round(1000 * used / count, 1)
    return row


# -- showing -----------------------------------------------------------------------------------


def conditions(others: Sequence[float] = ()) -> dict[str, object]:
    """The machine, the day, and how calm it was, where that matters."""
    told: dict[str, object] = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "uvicorn": version("uvicorn"),
        "fastapi": version("fastapi"),
    }
    if others:
        told["others_median"] = round(statistics.median(others), 2)
        told["others_most"] = round(max(others), 2)
    return told


def conditions_line(told: dict[str, object]) -> str:
    """What stands below the picture and the tables."""
    return (
        f"{told['date']}、{told['cores']} コアのマシン、Python {told['python']}、"
        f"uvicorn {told['uvicorn']}、FastAPI {told['fastapi']}。"
        f"測っている間に、ほかのプロセスが使った CPU は、中央値 {told['others_median']} コア、"
        f"最大 {told['others_most']} コアです。"
    )


LEFT, RIGHT, TOP, BOTTOM = 40, 300, 24, 220
MARKS = {"wait": "", "compute": "6 4"}


def picture(points: Sequence[Point]) -> str:
    """Each kind's rate as a multiple of its rate with one worker."""
    rates = {(p.kind, p.workers): p.per_second for p in points}
    lines = {
        kind: [rates[kind, n] / rates[kind, WORKERS[0]] for n in WORKERS] for kind in KINDS
    }
    most = max(3.0, *(max(line) for line in lines.values()))

    def x(workers: int) -> float:
        return LEFT + (RIGHT - LEFT) * (workers - 1) / (len(WORKERS) - 1)

    def y(ratio: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * ratio / most

    told = "。".join(
        f"{KINDS[kind]}は、1 から 8 ワーカーの順に {'、'.join(f'{r:.1f}' for r in line)} 倍"
        for kind, line in lines.items()
    )
    parts = [
        '<svg class="wl-figure" xmlns="http://www.w3.org/2000/svg" role="img"'
        ' viewBox="0 0 400 262" aria-labelledby="sweep-t sweep-d"'
        ' font-family="system-ui, sans-serif" font-size="12" fill="currentColor">',
        '<title id="sweep-t">ワーカーの数と、1 秒に答えた数</title>',
        f'<desc id="sweep-d">{escape(told)}。</desc>',
        f'<text x="{LEFT - 30}" y="14" font-size="11">1 ワーカーの何倍か</text>',
    ]
    for ratio in range(int(most) + 1):
        parts += [
            f'<path d="M{LEFT} {y(ratio):.1f}H{RIGHT}" stroke="currentColor"'
            ' stroke-opacity=".2"/>',
            f'<text x="{LEFT - 8}" y="{y(ratio) + 4:.1f}" text-anchor="end">{ratio}</text>',
        ]
    parts += [
        f'<text x="{x(n):.1f}" y="{BOTTOM + 18}" text-anchor="middle">{n}</text>'
        for n in WORKERS
    ]
    middle = (LEFT + RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{BOTTOM + 36}" text-anchor="middle" font-size="11">'
        "ワーカーの数</text>"
    )
    ends = label_heights({kind: y(line[-1]) for kind, line in lines.items()})
    for kind, line in lines.items():
        path = "L".join(f"{x(n):.1f} {y(r):.1f}" for n, r in zip(WORKERS, line, strict=True))
        dash = f' stroke-dasharray="{MARKS[kind]}"' if MARKS[kind] else ""
        parts += [
            f'<path d="M{path}" fill="none" stroke="currentColor" stroke-width="2.5"{dash}/>',
            *(
                f'<circle cx="{x(n):.1f}" cy="{y(r):.1f}" r="3"/>'
                for n, r in zip(WORKERS, line, strict=True)
            ),
            f'<text x="{RIGHT + 10}" y="{ends[kind] + 4:.1f}">{KINDS[kind]}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def label_heights(wanted: dict[str, float], apart: float = 16) -> dict[str, float]:
    """Where each line's name stands: at its end, but not over another name."""
    heights: dict[str, float] = {}
    last = -apart
    for kind, height in sorted(wanted.items(), key=lambda item: item[1]):
        last = heights[kind] = max(height, last + apart)
    return heights


def sweep_table(points: Sequence[Point], told: dict[str, object]) -> str:
    """Requests per second; the picture shows them as ratios."""
    rates = {(p.kind, p.workers): p.per_second for p in points}
    lines = [
        "| ワーカー | " + " | ".join(f"{name}（件/秒）" for name in KINDS.values()) + " |",
        "| --- |" + " --- |" * len(KINDS),
        *(
            f"| {n} | " + " | ".join(f"{rates[kind, n]:.0f}" for kind in KINDS) + " |"
            for n in WORKERS
        ),
    ]
    return "\n".join([*lines, "", conditions_line(told), ""])


def quota_table(rows: Sequence[dict[str, float]], told: dict[str, object]) -> str:
    """What a fraction of a core does to the start and to the work."""
    lines = [
        "| 割り当て | ワーカー | 全員の準備ができるまで（秒） | 計算する処理（件/秒） |",
        "| --- | --- | --- | --- |",
    ]
    for row in rows:
        share = f"{row['cores']:g} コア" if row["cores"] else "上限なし"
        lines.append(
            f"| {share} | {row['workers']} | {row['start']:.1f} | {row['per_second']:.1f} |"
        )
    return "\n".join([*lines, "", conditions_line(told), ""])


def cost_tables(rows: Sequence[dict[str, float]], told: dict[str, object]) -> dict[str, str]:
    """What a request and a start cost, and what follows for the best possible rate."""
    of = (
        f"{told['date']}、{told['cores']} コアのマシン、Python {told['python']}、"
        f"uvicorn {told['uvicorn']}、FastAPI {told['fastapi']}。"
    )
    requests = [
        "| ワーカー | 待つ処理 1 件の CPU（ミリ秒） | 計算する処理 1 件の CPU（ミリ秒） "
        "| 計算する処理の上限（件/秒、1 コア） |",
        "| --- | --- | --- | --- |",
        *(
            f"| {row['workers']:.0f} | {row['wait']:.1f} | {row['compute']:.1f} "
            f"| {1000 / row['compute']:.0f} |"
            for row in rows
        ),
    ]
    starts = [
        "| ワーカー | 起動に使う CPU（秒） | 0.5 コアでの起動（秒以上） "
        "| 0.25 コアでの起動（秒以上） |",
        "| --- | --- | --- | --- |",
        *(
            f"| {row['workers']:.0f} | {row['start']:.1f} | {row['start'] / 0.5:.1f} "
            f"| {row['start'] / 0.25:.1f} |"
            for row in rows
        ),
    ]
    return {
        "cost.txt": "\n".join([*requests, "", of, ""]),
        "start.txt": "\n".join([*starts, "", of, ""]),
    }


def save(name: str, told: dict[str, object], rows: object) -> None:
    """Write the numbers; `render` makes the rest of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"conditions": told, "rows": rows}, ensure_ascii=False, indent=1)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def derived() -> dict[Path, str]:
    """What follows from the recorded JSON."""
    files = {}
    if (path := FOLDER / "sweep.json").exists():
        data = json.loads(path.read_text("utf-8"))
        points = [Point(**row) for row in data["rows"]]
        files[FOLDER / "sweep.svg"] = picture(points)
        files[FOLDER / "sweep.txt"] = sweep_table(points, data["conditions"])
    if (path := FOLDER / "quota.json").exists():
        data = json.loads(path.read_text("utf-8"))
        files[FOLDER / "quota.txt"] = quota_table(data["rows"], data["conditions"])
    if (path := FOLDER / "cost.json").exists():
        data = json.loads(path.read_text("utf-8"))
        tables = cost_tables(data["rows"], data["conditions"])
        files.update({FOLDER / name: text for name, text in tables.items()})
    return files


def main(what: str = "sweep") -> None:
    """Measure what was asked for, and draw it."""
    if what == "sweep":
        points = asyncio.run(sweep())
        save("sweep", conditions([p.others for p in points]), [asdict(p) for p in points])
    elif what == "quota":
        rows = asyncio.run(quotas())
        save("quota", conditions([row["others"] for row in rows]), rows)
    elif what == "cost":
        costs = []
        for workers in COST_WORKERS:
            costs.append(asyncio.run(cost(workers)))
            print(costs[-1], flush=True)
        save("cost", conditions(), costs)
    for path, text in derived().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
