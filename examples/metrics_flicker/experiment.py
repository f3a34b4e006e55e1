"""200 件の注文のあいだに /metrics を 40 回読み、途中でワーカーを 1 つ kill -9 します。"""

import asyncio
import itertools
import math

from workerlab.cluster import Cluster, burst
from workerlab.errors import TrafficError
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Exchange, Trace

# --8<-- [start:traffic]
HALF, RESTARTED = 100, 50
LAST = 10


async def traffic(cluster: Cluster) -> None:
    await order(cluster, HALF)
    await scrape(cluster, 20)
    await replace(cluster, (await cluster.workers())[:1])  # 1 つ kill -9 して、代わりを待つ
    await scrape(cluster, LAST)
    await order(cluster, HALF)
    await scrape(cluster, LAST)
    await cluster.restart()  # ここからは、新しい起動
    await order(cluster, RESTARTED)
    await scrape(cluster, LAST, "restarted")


async def order(cluster: Cluster, count: int) -> None:
    await burst(cluster, count, "POST", "/orders", step="order")


async def scrape(cluster: Cluster, count: int, step: str = "scrape") -> None:
    for _ in range(count):  # Prometheus と同じく、1 回ずつ順に読む
        await cluster.request("GET", "/metrics", step=step, value="orders_total")


# --8<-- [end:traffic]
async def replace(cluster: Cluster, victims: list[int]) -> None:
    """*victims* を kill -9 し、ワーカーの数が元に戻るまで待つ。"""
    count = len(await cluster.workers())
    for worker in victims:
        await cluster.kill(worker)
    until = cluster.trace.now() + 60
    while True:
        alive = await cluster.workers()
        if len(alive) == count and not set(victims) & set(alive):
            return
        if cluster.trace.now() > until:
            raise TrafficError("60 秒待っても、死んだワーカーの代わりが起動しません。")
        await asyncio.sleep(0.05)


def values(trace: Trace, step: str) -> list[float]:
    """Values in the order of the scrapes; an answer without the counter is ``nan``."""
    scrapes: list[Exchange] = sorted(trace.step(step), key=lambda e: e.start)
    return [math.nan if e.value is None else e.value for e in scrapes]


def decreases(trace: Trace) -> float:
    seen = values(trace, "scrape")
    if any(map(math.isnan, seen)):
        return math.nan  # what is not shown can't fall
    return sum(after < before for before, after in itertools.pairwise(seen))


def increase(trace: Trace) -> float:
    """What `increase()` of PromQL adds up: a counter that fell is taken as restarted at 0."""
    seen = values(trace, "scrape")
    return sum(b - a if b >= a else b for a, b in itertools.pairwise(seen))


def lowest(trace: Trace, step: str) -> float:
    seen = values(trace, step)[-LAST:]
    return math.nan if any(map(math.isnan, seen)) else min(seen, default=math.nan)


EXPERIMENT = Experiment(
    topic="metrics_flicker",
    title="ちらつくメトリクス",
    traffic=traffic,
    requests=2 * HALF + RESTARTED + 20 + 3 * LAST,
    pictured="counted",
    needs=frozenset({"files"}),
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="accepted",
            label="200 で答えた注文",
            observe=lambda trace: sum(e.ok for e in trace.step("order")),
            expected=2 * HALF + RESTARTED,
            why="送った 250 件が、すべて処理されたことを確かめます。",
        ),
        Invariant(
            name="decreases",
            label="40 回の読み出しでカウンターが下がった回数",
            observe=decreases,
            expected=0,
            why="サーバーが動いている間、カウンターは下がりません。",
        ),
        Invariant(
            name="counted",
            label="200 件のあとの 10 回で、いちばん小さい値",
            observe=lambda trace: lowest(trace, "scrape"),
            expected=2 * HALF,
            why="どのワーカーが答えても、死んだワーカーの分も含めた合計です。",
        ),
        Invariant(
            name="increase",
            label="その間の increase()",
            observe=increase,
            expected=HALF,
            why="1 回目の読み出しのあとに受け付けたのは 100 件です。",
        ),
        Invariant(
            name="restarted",
            label="起動し直して 50 件のあと、いちばん小さい値",
            observe=lambda trace: lowest(trace, "restarted"),
            expected=RESTARTED,
            why="前の起動の値は、新しい起動の値ではありません。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
BEFORE, BUSY = 20, 5


async def kill_them_all(cluster: Cluster) -> None:
    await order(cluster, BEFORE)
    async with asyncio.TaskGroup() as people:
        for _ in range(BUSY):  # 処理に 60 秒かかる注文
            people.create_task(
                cluster.request("POST", "/orders?seconds=60", step="lost", timeout=90)
            )
        await all_started(cluster)
        await replace(cluster, await cluster.workers())
    await look(cluster, "after_kill")
    await cluster.restart()
    await look(cluster, "after_restart")


async def look(cluster: Cluster, when: str) -> None:
    """両方の数を、どのワーカーの答えもあるように 8 回ずつ読む。"""
    for name in ("orders_total", "orders_in_progress"):
        for _ in range(8):
            await cluster.request("GET", "/metrics", step=f"{name} {when}", value=name)


async def all_started(cluster: Cluster) -> None:
    until = cluster.trace.now() + 20
    while cluster.trace.now() < until:
        seen = await cluster.request(
            "GET", "/metrics", step="watch", value="orders_in_progress"
        )
        if seen.value == BUSY:
            return
        await asyncio.sleep(0.05)
    raise TrafficError(f"20 秒待っても、処理中の注文が {BUSY} 件になりません。")


# --8<-- [end:drill]
def same(trace: Trace, step: str) -> float:
    """The value that all scrapes of *step* agree on."""
    seen = set(values(trace, step))
    return seen.pop() if len(seen) == 1 else math.nan


def gauge(when: str, expected: float, why: str) -> Invariant:
    return Invariant(
        name=f"gauge_{when}",
        label={
            "after_kill": "死んだあとの「処理中」",
            "after_restart": "再起動のあとの「処理中」",
        }[when],
        observe=lambda trace: same(trace, f"orders_in_progress {when}"),
        expected=expected,
        why=why,
    )


DRILLS = (
    Experiment(
        topic="metrics_flicker",
        drill="busy_workers_killed",
        title="5 件を処理している間に、全ワーカーが kill -9 される",
        traffic=kill_them_all,
        requests=BEFORE + BUSY + 32 + 1,
        needs=frozenset({"files"}),
        may_lose_requests=True,
        invariants=(
            Invariant(
                name="lost",
                label="答えが返らなかった注文",
                observe=lambda trace: sum(e.status is None for e in trace.step("lost")),
                expected=BUSY,
                why="処理の途中だった 5 件です。",
            ),
            Invariant(
                name="counted",
                label="死んだあとのカウンター",
                observe=lambda trace: same(trace, "orders_total after_kill"),
                expected=BEFORE + BUSY,
                why="カウンターのファイルは、書いたワーカーが死んでも残ります。",
            ),
            gauge(
                "after_kill",
                BUSY,
                "処理中の注文は 0 件ですが、1 を引くはずのワーカーがもういません。",
            ),
            gauge("after_restart", 0, "空のディレクトリーから始まるので、消えます。"),
        ),
    ),
)
