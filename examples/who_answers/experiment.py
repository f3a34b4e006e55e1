"""1 本の接続で尋ね、親を止めて尋ね、送料を 5 回変えて、そのたびに 40 回尋ねます。"""

import asyncio
import math

from workerlab.cluster import Cluster, burst
from workerlab.errors import TrafficError
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace, count_by_worker

# --8<-- [start:traffic]
FEE = "/fees/tokyo"
CHANGES = (200, 300, 400, 500, 600)  # 円。初めは 100 円
CALLS = 4  # 反映のスクリプトが /reload を呼ぶ回数。ワーカーの数に合わせたつもり
ASKED, READS = 20, 40


async def traffic(cluster: Cluster) -> None:
    async with cluster.kept_connection() as one:
        for _ in range(ASKED):
            await one.request("GET", FEE, step="kept", value="yen")
    await cluster.pause_supervisor()
    await burst(cluster, ASKED, "GET", FEE, step="parent_stopped", value="yen")
    await cluster.resume_supervisor()
    for yen in CHANGES:
        await publish(cluster, yen)
        await burst(cluster, READS, "GET", FEE, step=f"{yen}", concurrency=20, value="yen")
    ready = await cluster.workers()
    note(cluster, "silent", len(set(ready) - set(cluster.trace.workers)))


async def publish(cluster: Cluster, yen: int) -> None:
    """送料を変え、反映のスクリプトを動かす。スクリプトは 1 本の接続を使い回す。"""
    await cluster.request("PUT", FEE, step="change", json={"yen": yen})
    async with cluster.kept_connection() as script:
        for _ in range(CALLS):
            await script.request("POST", "/reload", step="reload")


# --8<-- [end:traffic]
def note(cluster: Cluster, name: str, value: float) -> None:
    cluster.trace.note("measured", detail=name, value=value)


def noted(trace: Trace, name: str) -> float:
    return (trace.measured(name) or [math.nan])[-1]


def answered(trace: Trace, step: str) -> float:
    return sum(exchange.ok for exchange in trace.step(step))


def stale(trace: Trace) -> float:
    """公開し終えたあとに、それより古い送料を答えた件数。"""
    return sum(e.value != yen for yen in CHANGES for e in trace.step(f"{yen}"))


EXPERIMENT = Experiment(
    topic="who_answers",
    title="だれが答えるか",
    traffic=traffic,
    requests=2 * ASKED + len(CHANGES) * (1 + CALLS + READS),
    needs=frozenset({"files"}),
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="parent_stopped",
            label="親を止めている間に答えた件数",
            observe=lambda trace: answered(trace, "parent_stopped"),
            expected=ASKED,
            why="接続を受け取るのはワーカーで、親は配りません。",
        ),
        Invariant(
            name="silent",
            label="1 度も答えなかったワーカー",
            observe=lambda trace: noted(trace, "silent"),
            expected=0,
            why="同時に多く送れば、どのワーカーも接続を取ります。",
        ),
        Invariant(
            name="pinned",
            label="使い回した 1 本の接続に答えたワーカー",
            observe=lambda trace: len(count_by_worker(trace.step("kept"))),
            expected=1,
            why="接続は、受け取ったワーカーのものです。",
        ),
        Invariant(
            name="stale",
            label="公開のあとに古い送料を答えた件数",
            observe=stale,
            expected=0,
            why="だれが /reload を受け取っても、だれが答えても、新しい送料です。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
async def lose_a_worker_without_the_parent(cluster: Cluster) -> None:
    """親を止めてから、ワーカーを 1 つ kill -9 し、送料を変える。"""
    before = await cluster.workers()
    await cluster.pause_supervisor()
    await cluster.kill(before[0])
    await wait_for_workers(cluster, len(before) - 1)
    await publish(cluster, 200)
    await burst(cluster, READS, "GET", FEE, step="200", value="yen")
    note(cluster, "missing.stopped", len(before) - len(await cluster.workers()))
    await cluster.resume_supervisor()
    await wait_for_workers(cluster, len(before))
    note(cluster, "missing.resumed", len(before) - len(await cluster.workers()))
    await burst(cluster, READS, "GET", FEE, step="200", value="yen")


async def pause_the_pinned_worker(cluster: Cluster) -> None:
    """接続を使い回す客の相手を止め、送料を変え、ほかの客が来たあとに動かす。"""
    async with cluster.kept_connection() as customer:
        worker = (await customer.request("GET", FEE, step="met", value="yen")).worker
        if worker is None:
            raise TrafficError("答えがありません。GET /fees/tokyo を確かめてください。")
        await cluster.pause(worker)
        waiting = asyncio.create_task(
            customer.request("GET", FEE, step="waiting", value="yen", timeout=30)
        )
        await publish(cluster, 200)
        await burst(cluster, ASKED, "GET", FEE, step="200", value="yen")
        note(cluster, "answered.paused", len(cluster.trace.step("waiting")))
        await cluster.resume(worker)
        await waiting


# --8<-- [end:drill]
PATIENCE = 60
"""秒。新しいワーカーの起動を待つ上限。混んだマシンでも足りるように長く。"""


async def wait_for_workers(cluster: Cluster, count: int) -> None:
    until = cluster.trace.now() + PATIENCE
    while len(await cluster.workers()) != count:
        if cluster.trace.now() > until:
            raise TrafficError(f"{PATIENCE} 秒待っても、ワーカーが {count} 個になりません。")
        await asyncio.sleep(0.05)


def current(trace: Trace) -> float:
    return sum(e.value == 200 for e in trace.step("200"))


DRILLS = (
    Experiment(
        topic="who_answers",
        drill="without_parent",
        title="親が止まっている間に、ワーカーが 1 つ死ぬ",
        traffic=lose_a_worker_without_the_parent,
        requests=1 + CALLS + 2 * READS,
        needs=frozenset({"files"}),
        invariants=(
            Invariant(
                name="current",
                label="新しい送料を答えた件数",
                observe=current,
                expected=2 * READS,
                why="残りの 3 つも、起動し直された 1 つも、新しい送料を答えます。",
            ),
            Invariant(
                name="missing",
                label="親が止まっている間に欠けていたワーカー",
                observe=lambda trace: noted(trace, "missing.stopped"),
                expected=1,
                why="起動し直すのは親の仕事なので、親が止まっている間は欠けたままです。",
            ),
            Invariant(
                name="restarted",
                label="親が動き出したあとに欠けていたワーカー",
                observe=lambda trace: noted(trace, "missing.resumed"),
                expected=0,
                why="動き出した親が、死んだワーカーに気づいて起動し直します。",
            ),
        ),
    ),
    Experiment(
        topic="who_answers",
        drill="worker_paused",
        title="接続を使い回す客の相手だけが止まる",
        traffic=pause_the_pinned_worker,
        requests=3 + CALLS + ASKED,
        needs=frozenset({"files"}),
        invariants=(
            Invariant(
                name="current",
                label="新しい接続で来て、新しい送料を受け取った件数",
                observe=current,
                expected=ASKED,
                why="止まったワーカーは接続を取らないので、動いている 3 つが答えます。",
            ),
            Invariant(
                name="waiting",
                label="止まったワーカーが、止まっている間に答えた件数",
                observe=lambda trace: noted(trace, "answered.paused"),
                expected=0,
                why="開いた接続は、ほかのワーカーに移れません。",
            ),
            Invariant(
                name="woken",
                label="動き出したワーカーが答えた新しい送料（円）",
                observe=lambda trace: trace.step("waiting")[-1].value or math.nan,
                expected=200,
                why="答える前に版を確かめるので、眠っていた間の変更にも気づきます。",
            ),
        ),
    ),
)
