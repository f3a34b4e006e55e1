"""空のキャッシュに 50 人がいっせいに来て、1 つ売れたあと、また 50 人が来ます。"""

import asyncio
import math

from workerlab.cluster import Cluster
from workerlab.errors import TrafficError
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
CROWD = 50
GROUP, ARRIVAL = 5, 0.02  # 5 人ずつ、0.02 秒おきに着く。50 人でも集計の 0.5 秒より短い


async def traffic(cluster: Cluster) -> None:
    await crowd(cluster, CROWD, "cold")
    await cluster.request("POST", "/sales", step="sale")
    await crowd(cluster, CROWD, "stale")


async def crowd(cluster: Cluster, count: int, step: str) -> None:
    async with asyncio.TaskGroup() as people:
        for number in range(count):
            if number % GROUP == 0:
                await asyncio.sleep(ARRIVAL)
            people.create_task(cluster.request("GET", "/ranking", step=step, value="version"))


# --8<-- [end:traffic]
def answered(trace: Trace) -> float:
    return sum(exchange.ok for exchange in trace.exchanges)


def latest(trace: Trace, *steps: str) -> float:
    """The highest version that was answered: versions count the computations."""
    versions = [e.value for s in steps for e in trace.step(s) if e.value is not None]
    return max(versions, default=math.nan)


EXPERIMENT = Experiment(
    topic="cache_stampede",
    title="キャッシュスタンピード",
    traffic=traffic,
    requests=2 * CROWD + 1,
    pictured="computations",
    needs=frozenset({"redis"}),
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="answered",
            label="200 で答えたリクエスト",
            observe=answered,
            expected=2 * CROWD + 1,
            why="送った 101 件が、すべて受け付けられたことを確かめます。",
        ),
        Invariant(
            name="computations",
            label="集計した回数の合計",
            observe=lambda trace: latest(trace, "cold", "stale"),
            expected=2,
            why="最初に 1 回、売れたあとに 1 回で足ります。",
        ),
        Invariant(
            name="cold",
            label="空のキャッシュに来た 50 件で集計した回数",
            observe=lambda trace: latest(trace, "cold"),
            expected=1,
            why="結果はだれにとっても同じなので、作るのは 1 人でよいはずです。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
FOLLOWERS = 30


async def kill_the_holder(cluster: Cluster) -> None:
    async with asyncio.TaskGroup() as people:
        people.create_task(cluster.request("GET", "/ranking", step="holder"))
        await cluster.kill(await computing_worker(cluster))
        await crowd(cluster, FOLLOWERS, "follower")


async def computing_worker(cluster: Cluster) -> int:
    watched = await cluster.request("GET", "/computing", step="watch")
    if not (watched.ok and watched.body["computing"]):
        raise TrafficError(
            "集計中のワーカーが分かりません。GET /computing を確かめてください。"
        )
    return int(watched.body["computing"])


# --8<-- [end:drill]
DRILLS = (
    Experiment(
        topic="cache_stampede",
        drill="holder_killed",
        title="集計中のワーカーが kill -9 される",
        traffic=kill_the_holder,
        requests=FOLLOWERS + 2,
        needs=frozenset({"redis"}),
        may_lose_requests=True,
        invariants=(
            Invariant(
                name="followers",
                label="そのあとに来て 200 を受け取った人",
                observe=lambda trace: sum(e.ok for e in trace.step("follower")),
                expected=FOLLOWERS,
                why="持ち主が死んでも、ロックの期限が切れれば別のワーカーが引き継ぎます。",
            ),
            Invariant(
                name="computations",
                label="集計した回数の合計",
                observe=lambda trace: latest(trace, "follower"),
                expected=2,
                why="失われた 1 回と、引き継いだ 1 回です。",
            ),
        ),
    ),
)
