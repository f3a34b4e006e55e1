"""120 件の注文の途中でワーカーを 1 つ kill -9 し、起動し直されるまで待って、記録を数えます。"""

import asyncio
import math
from collections.abc import Iterator

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Exchange, Trace

# --8<-- [start:traffic]
ORDERS, AT_ONCE = 120, 16
KILL_AFTER = 40
RETRIES = 10


async def traffic(cluster: Cluster) -> None:
    count = len(await cluster.workers())
    keys = iter(range(ORDERS))
    async with asyncio.TaskGroup() as customers:
        for _ in range(AT_ONCE):
            customers.create_task(customer(cluster, keys))
    await wait_for_workers(cluster, count)
    await look(cluster)


async def customer(cluster: Cluster, keys: Iterator[int]) -> None:
    for key in keys:
        answer = await order(cluster, f"{key}")
        if answer.ok and answered(cluster.trace) == KILL_AFTER and answer.worker:
            await cluster.kill(answer.worker)  # いま答えたばかりのワーカーを止める


async def order(cluster: Cluster, key: str, retries: int = RETRIES) -> Exchange:
    """答えがなければ、同じキーでもう一度送る。"""
    for _ in range(1 + retries):
        answer = await cluster.request(
            "PUT", f"/orders/{key}", step="order", json={"yen": 100}, timeout=60
        )
        if answer.status is not None:
            break
    return answer


# --8<-- [end:traffic]
LOOKS, LOOKERS, PAUSE = 6, 6, 0.35
"""2 秒あまり見る。起動し直しを待つ時間と合わせ、bad.py の生き残りが 2 秒分を書き終えるまで。"""
PATIENCE = 60
"""秒。新しいワーカーの起動を待つ上限。混んだマシンでも足りるように長く。"""


async def look(cluster: Cluster) -> None:
    """保存された件数を尋ねる。どのワーカーの答えも、記録に残るように。"""
    for _ in range(LOOKS):
        await asyncio.sleep(PAUSE)
        await burst(cluster, LOOKERS, "GET", "/orders", step="look", value="saved")


async def wait_for_workers(cluster: Cluster, count: int) -> None:
    """ワーカーが count 個に戻るまで待ち、欠けている数を出来事として残す。"""
    until = cluster.trace.now() + PATIENCE
    while len(await cluster.workers()) < count and cluster.trace.now() < until:
        await asyncio.sleep(0.05)
    note(cluster, "missing", count - len(await cluster.workers()))


def note(cluster: Cluster, name: str, value: float) -> None:
    cluster.trace.note("measured", detail=name, value=value)


def noted(trace: Trace, name: str) -> float:
    return (trace.measured(name) or [math.nan])[-1]


def answered(trace: Trace, step: str = "order") -> float:
    return sum(exchange.ok for exchange in trace.step(step))


def unanswered(trace: Trace, step: str = "order") -> float:
    return sum(exchange.status is None for exchange in trace.step(step))


def late(trace: Trace) -> float:
    """止めたあとに送ったのに、答えがなかった件数。"""
    (killed,) = (event.at for event in trace.events if event.kind == "worker_killed")
    return sum(e.status is None and e.start > killed for e in trace.step("order"))


def saved(trace: Trace) -> float:
    seen = [e.value for e in trace.step("look") if e.value is not None]
    return max(seen, default=math.nan)


MISSING = Invariant(
    name="missing",
    label="起動し直されたあとに欠けているワーカー",
    observe=lambda trace: noted(trace, "missing"),
    expected=0,
    why="親が、死んだワーカーの代わりを起動します。",
)
EXPERIMENT = Experiment(
    topic="worker_crash",
    title="ワーカーの突然死",
    traffic=traffic,
    requests=ORDERS + LOOKS * LOOKERS,
    pictured="saved",
    needs=frozenset({"files"}),
    may_lose_requests=True,  # 止められたワーカーの処理していた注文には、答えが返らない
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="accepted",
            label="受け付けたと答えた注文",
            observe=answered,
            expected=ORDERS,
            why="答えのなかった注文は、同じキーで送り直します。",
        ),
        Invariant(
            name="unanswered",
            label="答えのなかったリクエスト",
            observe=unanswered,
            relation="<=",
            expected=AT_ONCE,
            why="切れるのは、死んだワーカーが処理していた分だけです。",
        ),
        Invariant(
            name="late",
            label="kill -9 のあとに送り、答えのなかったリクエスト",
            observe=late,
            expected=0,
            why="新しい接続は、残りのワーカーが受け取ります。",
        ),
        MISSING,
        Invariant(
            name="saved",
            label="保存されている注文",
            observe=saved,
            expected=ORDERS,
            why="受け付けたと答えた注文は、ワーカーが死んでも残ります。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
BEFORE, AFTER = 20, 40


async def kill_them_all(cluster: Cluster) -> None:
    """20 件を受け付けてから全部のワーカーを止め、1 つもいない間に 40 件を送る。"""
    before = await cluster.workers()
    await order_once(cluster, range(BEFORE))
    for worker in before:
        await cluster.kill(worker)
    while set(before) & set(await cluster.workers()):
        await asyncio.sleep(0.01)
    await order_once(cluster, range(BEFORE, BEFORE + AFTER))
    await wait_for_workers(cluster, len(before))
    await look(cluster)


async def order_once(cluster: Cluster, keys: range) -> None:
    """いっせいに送り、答えがなくても送り直さない。"""
    async with asyncio.TaskGroup() as customers:
        for key in keys:
            customers.create_task(order(cluster, f"{key}", retries=0))


async def send_a_poison(cluster: Cluster) -> None:
    """ワーカーを落とす注文を、答えを得るまで、5 回まで送る。その前後に、ふつうの注文を送る。"""
    count = len(await cluster.workers())
    await order_once(cluster, range(BEFORE))
    for _ in range(5):
        huge = {"yen": 100, "picture": "huge"}
        answer = await cluster.request(
            "PUT", "/orders/huge", step="poison", json=huge, timeout=60
        )
        if answer.status is not None:
            break
    await order_once(cluster, range(BEFORE, BEFORE + AFTER))
    await wait_for_workers(cluster, count)
    await look(cluster)


# --8<-- [end:drill]
ACCEPTED = Invariant(
    name="accepted",
    label="送り直さずに受け付けられた注文",
    observe=answered,
    expected=BEFORE + AFTER,
    why="待ち受けソケットは親も持っているので、接続は列に並んで待ちます。",
)
SAVED = Invariant(
    name="saved",
    label="保存されている注文",
    observe=saved,
    expected=BEFORE + AFTER,
    why="受け付けたと答えた注文は、すべて残ります。",
)
DRILLS = (
    Experiment(
        topic="worker_crash",
        drill="all_killed",
        title="ワーカーが 4 つとも kill -9 される",
        traffic=kill_them_all,
        requests=BEFORE + AFTER + LOOKS * LOOKERS,
        needs=frozenset({"files"}),
        may_lose_requests=True,
        invariants=(ACCEPTED, SAVED, MISSING),
    ),
    Experiment(
        topic="worker_crash",
        drill="poison",
        title="受け取ったワーカーを落とすリクエスト",
        traffic=send_a_poison,
        requests=5 + BEFORE + AFTER + LOOKS * LOOKERS,
        needs=frozenset({"files"}),
        may_lose_requests=True,
        invariants=(
            Invariant(
                name="crashes",
                label="5 回送って、ワーカーを落とした回数",
                observe=lambda trace: unanswered(trace, "poison"),
                expected=5,
                why="送り直すたびに、別のワーカーが受け取って落ちます。",
            ),
            ACCEPTED,
            SAVED,
            MISSING,
        ),
    ),
)
