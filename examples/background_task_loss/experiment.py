"""30 件の注文を受け付けた直後にワーカーを 1 つ kill -9 し、領収書がそろうのを待ちます。"""

import asyncio
import dataclasses
import math

from workerlab.cluster import Cluster, burst
from workerlab.errors import TrafficError
from workerlab.experiment import Beside, Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
ORDERS = 30
SHORT = {"lines": 10}  # 領収書に 1 秒かかる注文


async def traffic(cluster: Cluster) -> None:
    await order(cluster, ORDERS, SHORT)
    await cluster.kill(last_worker(cluster.trace))
    await watch(cluster, patience=3)  # そろうか、3 秒のあいだ何も進まなくなるまで、枚数を見る


async def order(cluster: Cluster, count: int, what: dict[str, int]) -> None:
    await burst(cluster, count, "POST", "/orders", step="order", concurrency=15, json=what)


# --8<-- [end:traffic]
LOOK = 0.25
"""秒。枚数を見る間隔。"""
LOOKERS = 6
"""1 回に同時に尋ねる数。どのワーカーの答えも、記録に残るように。"""
COUNTED = ("issued", "repeated", "runs")


async def watch(cluster: Cluster, *, patience: float, looks: int = 32) -> None:
    """尋ねる回数は looks に決めておく。待つのは、待つ理由がある間だけ。"""
    before, since = None, cluster.trace.now()
    while looked(cluster) < looks - 4:
        seen = await read(cluster)
        if seen != before:
            before, since = seen, cluster.trace.now()
        complete = seen.get("issued") == len(cluster.trace.step("order"))
        if not complete and cluster.trace.now() - since <= patience:
            await asyncio.sleep(LOOK)
    while looked(cluster) < looks:  # 二重の領収書は、遅れて現れる
        await asyncio.sleep(LOOK)
        await read(cluster)


def looked(cluster: Cluster) -> int:
    return len(cluster.trace.step("watch")) // LOOKERS


async def read(cluster: Cluster) -> dict[str, float]:
    """枚数を尋ねる。答えの本文は記録に残らないので、判定に使う数を出来事として残す。"""
    answers = await burst(
        cluster,
        LOOKERS,
        *("GET", "/receipts"),
        step="watch",
        concurrency=LOOKERS,
        value="issued",
    )
    seen = [answer.body for answer in answers if answer.ok]
    counts = {name: max(body[name] for body in seen) for name in COUNTED if seen}
    for name, value in counts.items():
        cluster.trace.note("measured", detail=name, value=value)
    return counts


def last_worker(trace: Trace) -> int:
    """最後に注文を受け付けたワーカー。その注文の領収書は、まだできていない。"""
    accepted = [e for e in trace.step("order") if e.ok and e.worker is not None]
    if not accepted:
        raise TrafficError(
            "注文が 1 件も受け付けられませんでした。POST /orders を確かめてください。"
        )
    return max(accepted, key=lambda e: e.end).worker or 0


def accepted(trace: Trace) -> float:
    return sum(exchange.ok for exchange in trace.step("order"))


def final(trace: Trace, name: str) -> float:
    return (trace.measured(name) or [math.nan])[-1]


ACCEPTED = Invariant(
    name="accepted",
    label="受け付けた注文",
    observe=accepted,
    expected=ORDERS,
    why="30 件すべてに 202 を返し、領収書を約束しました。",
)
# --8<-- [start:invariants]
ISSUED = Invariant(
    name="issued",
    label="領収書が出た注文",
    observe=lambda trace: final(trace, "issued"),
    expected=ORDERS,
    why="約束した数だけ、果たされます。",
)
REPEATED = Invariant(
    name="repeated",
    label="余分に出た領収書",
    observe=lambda trace: final(trace, "repeated"),
    expected=0,
    why="1 つの注文に、領収書は 1 枚です。",
)
# --8<-- [end:invariants]
QUEUE = Beside(
    name="queue",
    command=("taskiq", "worker", "examples.background_task_loss.tasks:broker", "--workers=2"),
    ready="Listening started",
)
EXPERIMENT = Experiment(
    topic="background_task_loss",
    title="消えるバックグラウンド処理",
    traffic=traffic,
    requests=ORDERS + 32 * LOOKERS,
    pictured="issued",
    needs=frozenset({"files", "redis"}),
    beside=(QUEUE,),
    invariants=(ACCEPTED, ISSUED, REPEATED),
)


# --8<-- [start:drill]
LONG = {"lines": 20}  # 領収書に 2 秒かかる注文
DRILL_LOOKS = 80
PATIENCE = 10  # 秒。中継がもう一度送るまでの 5 秒より長く


async def kill_the_queue(cluster: Cluster) -> None:
    """仕事の途中で、キューのワーカーを全部 kill -9 して、起動し直す。"""
    await order(cluster, ORDERS, LONG)
    await started(cluster)
    await cluster.stop_service("queue")
    await cluster.start_service("queue")
    await watch(cluster, patience=PATIENCE, looks=DRILL_LOOKS)


async def deliver_twice(cluster: Cluster) -> None:
    """2 秒かかる仕事を、0.5 秒で引き取りが始まるキューに、次々と入れる。"""
    async with asyncio.TaskGroup() as people:
        for _ in range(ORDERS):
            people.create_task(cluster.request("POST", "/orders", step="order", json=LONG))
            await asyncio.sleep(0.1)
    await watch(cluster, patience=PATIENCE, looks=DRILL_LOOKS)


async def restart_valkey(cluster: Cluster) -> None:
    """10 件の仕事の途中で Valkey を止め、止まっている間に 20 件を受け付ける。"""
    await order(cluster, ORDERS - 20, LONG)
    await started(cluster)
    await cluster.stop_service("redis")
    await order(cluster, 20, LONG)
    await cluster.start_service("redis")
    await watch(cluster, patience=PATIENCE, looks=DRILL_LOOKS)


async def leave(cluster: Cluster) -> None:
    """3.5 秒かかる注文を送り、202 を受け取ったら、すぐに接続を閉じる。"""
    await order(cluster, ORDERS, {"lines": 35})
    await watch(cluster, patience=PATIENCE, looks=DRILL_LOOKS)


async def started(cluster: Cluster) -> None:
    """1 つ以上の仕事が始まるまで待つ。"""
    until = cluster.trace.now() + 20
    while not final(cluster.trace, "runs") > 0:
        await read(cluster)
        if cluster.trace.now() > until:
            raise TrafficError("20 秒待っても、領収書の仕事が 1 つも始まりませんでした。")
        await asyncio.sleep(0.1)


# --8<-- [end:drill]
def runs(why: str) -> Invariant:
    return Invariant(
        name="runs",
        label="仕事を始めた回数",
        observe=lambda trace: final(trace, "runs"),
        expected=ORDERS + 1,
        relation=">=",
        why=why,
    )


DRILLED = dataclasses.replace(EXPERIMENT, pictured="", requests=ORDERS + DRILL_LOOKS * LOOKERS)
DRILLS = (
    dataclasses.replace(
        DRILLED,
        drill="queue_killed",
        title="キューのワーカーが、仕事の途中で kill -9 される",
        traffic=kill_the_queue,
        invariants=(
            ACCEPTED,
            ISSUED,
            REPEATED,
            runs("途中で死んだ仕事は、中継がもう一度送ります。"),
        ),
    ),
    dataclasses.replace(
        DRILLED,
        drill="delivered_twice",
        title="仕事が終わる前に、キューがもう一度配る",
        traffic=deliver_twice,
        beside=(
            dataclasses.replace(
                QUEUE,
                command=tuple(
                    part.replace("tasks:broker", "short_idle:broker") for part in QUEUE.command
                ),
            ),
        ),
        invariants=(
            ACCEPTED,
            ISSUED,
            REPEATED,
            runs("同じ仕事が 2 回以上始まったことを確かめます。"),
        ),
    ),
    dataclasses.replace(
        DRILLED,
        drill="valkey_restart",
        title="Valkey が止まり、空になって戻る",
        traffic=restart_valkey,
        invariants=(ACCEPTED, ISSUED, REPEATED),
    ),
    dataclasses.replace(
        DRILLED,
        drill="client_left",
        title="クライアントが、応答のあとですぐに切断する",
        traffic=leave,
        servers=frozenset({"gunicorn-asgi"}),
        invariants=(ACCEPTED, ISSUED, REPEATED),
    ),
)
