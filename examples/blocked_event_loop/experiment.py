"""12 人が報告書を待つ間に、/healthz を 20 回呼びます。"""

import asyncio
import math

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Exchange, Trace

# --8<-- [start:traffic]
REPORTS, PROBES = 12, 20
GAP = 0.015  # 秒。少しずつ送るので、手の空いたワーカーから順に受け取る


async def traffic(cluster: Cluster) -> None:
    async with asyncio.TaskGroup() as people:
        for _ in range(REPORTS):
            people.create_task(cluster.request("GET", "/report", step="report", timeout=60))
            await asyncio.sleep(GAP)
        for _ in range(PROBES):
            people.create_task(
                cluster.request("GET", "/healthz", step="health", value="running")
            )
            await asyncio.sleep(GAP)


# --8<-- [end:traffic]
def first_end(exchanges: list[Exchange]) -> float:
    return min((e.end for e in exchanges if e.ok), default=math.nan)


def meanwhile(trace: Trace) -> float:
    """Probes that were answered before any report was: by order, whatever the clock says."""
    first = first_end(trace.step("report"))
    return sum(e.ok and e.end < first for e in trace.step("health"))


def stalled(trace: Trace, step: str = "health") -> float:
    """Probes that were answered only after a report of the same worker had come to its end."""
    reports = [e for e in trace.step("report") if e.ok]
    return sum(
        any(r.worker == e.worker and e.start < r.end <= e.end for r in reports)
        for e in trace.step(step)
    )


def overlap(trace: Trace) -> float:
    """The most reports in progress that a probe saw in its own worker."""
    return max((e.value for e in trace.step("health") if e.value is not None), default=math.nan)


EXPERIMENT = Experiment(
    topic="blocked_event_loop",
    title="止まったイベントループ",
    traffic=traffic,
    requests=REPORTS + PROBES,
    pictured="overlap",
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="reports",
            label="200 で答えた報告書",
            observe=lambda trace: sum(e.ok for e in trace.step("report")),
            expected=REPORTS,
            why="遅い仕事を断って空けたのではないことを確かめます。",
        ),
        Invariant(
            name="meanwhile",
            label="最初の報告書より先に答えた /healthz",
            observe=meanwhile,
            expected=PROBES,
            why="/healthz は何も待たないので、1 秒かかる報告書のどれよりも先に答えます。",
        ),
        Invariant(
            name="stalled",
            label="報告書が終わるまで待たされた /healthz",
            observe=stalled,
            expected=0,
            why="同じワーカーの報告書が終わってから答えたものを数えます。",
        ),
        Invariant(
            name="overlap",
            label="/healthz が見た、進行中の問い合わせ（最大）",
            observe=overlap,
            expected=1,
            relation=">=",
            why="問い合わせの途中で答えられたなら、1 件以上が見えます。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
THREADS = 40  # 1 つのワーカーが def のルートに使うスレッド
WAVE, MOST_WAVES = 30, 40
SLOWER = {"UPSTREAM_SECONDS": "3"}  # 頼み終える前にスレッドが空かない長さ


async def fill_the_threads(cluster: Cluster) -> None:
    async with asyncio.TaskGroup() as people:
        for _ in range(MOST_WAVES):
            for _ in range(WAVE):
                people.create_task(cluster.request("GET", "/report", step="report", timeout=90))
            if await all_full(cluster):
                break
        for step, path in (("ready", "/readyz"), ("health", "/healthz")):
            people.create_task(
                burst(cluster, PROBES, "GET", path, step=step, concurrency=PROBES, timeout=90)
            )


async def all_full(cluster: Cluster) -> bool:
    """接続の分かれ方は毎回違うので、どのワーカーも 40 本を使い切るまで頼み足す。"""
    looks = await burst(cluster, PROBES, "GET", "/healthz", step="look", value="running")
    emptiest = min((e.value or 0 for e in looks), default=0)
    everyone = len({e.worker for e in looks}) == len(await cluster.workers())
    return everyone and emptiest >= THREADS


# --8<-- [end:drill]
def before_half_of_ready(trace: Trace) -> float:
    ends = sorted(e.end for e in trace.step("ready") if e.ok)
    half = ends[len(ends) // 2] if ends else math.nan
    return sum(e.ok and e.end < half for e in trace.step("health"))


DRILLS = (
    Experiment(
        topic="blocked_event_loop",
        drill="threads_full",
        title="40 本のスレッドがすべて埋まる",
        traffic=fill_the_threads,
        environment=SLOWER,
        requests=12 * (WAVE + PROBES)
        + 2 * PROBES,  # 頼み足す回数は、ワーカーへの分かれ方による
        invariants=(
            Invariant(
                name="lost",
                label="200 で答えなかった報告書",
                observe=lambda trace: sum(not e.ok for e in trace.step("report")),
                expected=0,
                why="順番を待つだけで、失われるものはありません。",
            ),
            Invariant(
                name="ready_stalled",
                label="報告書が終わるまで待たされた /readyz（def）",
                observe=lambda trace: stalled(trace, "ready"),
                expected=PROBES / 2,
                relation=">=",
                why="def のルートは、どれも同じ 40 本のスレッドの空きを待ちます。",
            ),
            Invariant(
                name="health_first",
                label="/readyz の半分より先に答えた /healthz（async def）",
                observe=before_half_of_ready,
                expected=PROBES / 2,
                relation=">=",
                why="async def のルートは、スレッドを使わずイベントループの上で答えます。",
            ),
        ),
    ),
)
