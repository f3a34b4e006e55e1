"""同じ注文を 2 回送り、銀行の答えを失わせ、最後に銀行を止めて 100 件の注文を送ります。"""

import asyncio
import dataclasses
import math

from workerlab.cluster import Cluster
from workerlab.experiment import Beside, Experiment, Invariant
from workerlab.trace import Exchange, Trace

# --8<-- [start:traffic]
ORDERS, OUTAGE = 20, 100


async def traffic(cluster: Cluster) -> None:
    await bank(cluster, "fine")
    await order(cluster, "twice", ORDERS)  # ボタンを 2 回押した人
    await order(cluster, "twice", ORDERS)
    await bank(cluster, "answer_lost")  # 決済してから、1 回目の答えだけを失う
    await order(cluster, "lost", ORDERS, again=True)
    await read(cluster, "charges")
    await bank(cluster, "down")  # ここから、銀行は 503 しか返さない
    for wave in range(0, OUTAGE, 10):
        await order(cluster, "outage", 10, first=wave)
        await read(cluster, "calls")


async def order(
    cluster: Cluster,
    step: str,
    count: int,
    *,
    name: str = "",
    first: int = 0,
    again: bool = False,
) -> None:
    """番号の付いた注文を、8 件ずつ並行して送る。again なら、失敗した人が 1 回だけ送り直す。"""
    numbers = iter(range(first, first + count))

    async def people() -> None:
        for number in numbers:
            if not (await send(cluster, step, f"{name or step}-{number}")).ok and again:
                await send(cluster, f"{step}_again", f"{name or step}-{number}")

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(people())


async def send(cluster: Cluster, step: str, order_id: str) -> Exchange:
    key = {"Idempotency-Key": f"key-of-{order_id}"}
    return await cluster.request(
        "POST", f"/orders/{order_id}", step=step, headers=key, timeout=60
    )


# --8<-- [end:traffic]
async def bank(cluster: Cluster, mode: str) -> None:
    await cluster.request("PUT", f"/bank/{mode}", step="bank")


async def read(cluster: Cluster, what: str) -> None:
    """銀行の帳簿を数える。リクエストの数は、調子を変えたときから数える。"""
    counted = await cluster.request(
        "GET", "/bank", step=what, value="calls" if what == "calls" else None
    )
    if counted.ok:
        cluster.trace.note("measured", detail=what, value=counted.body[what])


def last(trace: Trace, what: str) -> float:
    return (trace.measured(what) or [math.nan])[-1]


def succeeded(trace: Trace, *steps: str) -> float:
    return sum(e.ok for step in steps for e in trace.step(step))


BANK = Beside(
    name="bank",
    command=("examples.retry_storm.bank",),
    ready="Uvicorn running on unix socket",
)
EXPERIMENT = Experiment(
    topic="retry_storm",
    title="リトライの嵐",
    traffic=traffic,
    requests=3 + 3 * ORDERS + 1 + OUTAGE + OUTAGE // 10,
    pictured="calls",
    needs=frozenset({"files"}),
    beside=(BANK,),
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="accepted",
            label="銀行が動く間に受け付けた注文",
            observe=lambda trace: succeeded(trace, "twice", "lost", "lost_again"),
            expected=3 * ORDERS,
            why="2 回ずつ送った 20 件と、答えが失われた 20 件です。",
        ),
        Invariant(
            name="charges",
            label="決済された回数",
            observe=lambda trace: last(trace, "charges"),
            expected=2 * ORDERS,
            why="1 件の注文に、決済は 1 回です。",
        ),
        Invariant(
            name="calls",
            label="銀行が止まる間に届いたリクエスト",
            observe=lambda trace: last(trace, "calls"),
            expected=OUTAGE * 1.2,
            relation="<=",
            why="100 件の注文に対し、やり直しは 2 割までです。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
KILLED = 30


async def every_first_call_fails(cluster: Cluster) -> None:
    """どの注文も、銀行への 1 回目だけが失敗する。失敗した人は、1 回だけ送り直す。"""
    await bank(cluster, "blip")
    await order(cluster, "blip", OUTAGE, again=True)
    await read(cluster, "calls")
    await read(cluster, "charges")


async def kill_the_bank(cluster: Cluster) -> None:
    """銀行を止めて 30 件を送り、銀行を起動してから、同じ 30 件を送り直す。"""
    await order(cluster, "before", KILLED)
    await cluster.stop_service("bank")
    await order(cluster, "outage", KILLED)
    await cluster.start_service("bank")
    await order(cluster, "back", KILLED, name="outage")
    await read(cluster, "charges")


# --8<-- [end:drill]
DRILLED = Experiment(
    topic="retry_storm",
    title="",
    traffic=every_first_call_fails,
    requests=0,
    needs=EXPERIMENT.needs,
    beside=EXPERIMENT.beside,
    invariants=(),
)
DRILLS = (
    dataclasses.replace(
        DRILLED,
        drill="budget_spent",
        title="どの注文も 1 回目が失敗し、予算が足りない",
        traffic=every_first_call_fails,
        requests=2 * OUTAGE + 3,
        invariants=(
            Invariant(
                name="refused",
                label="やり直せば通ったのに 503 を受け取った注文",
                observe=lambda trace: sum(e.status == 503 for e in trace.step("blip")),
                expected=75,  # (4 × 20 点 + 200 件) ÷ (10 + 1) = 25 件までは、やり直せる
                relation=">=",
                why="予算は、短い失敗と長い停止を見分けません。これが費用です。",
            ),
            Invariant(
                name="calls",
                label="銀行に届いたリクエスト",
                observe=lambda trace: last(trace, "calls"),
                expected=2 * OUTAGE,
                why="1 件に 2 回です。予算があればアプリが、なければ利用者がやり直します。",
            ),
            Invariant(
                name="charges",
                label="決済された回数",
                observe=lambda trace: last(trace, "charges"),
                expected=OUTAGE,
                why="利用者が送り直せば、1 件に 1 回ずつ決済されます。",
            ),
        ),
    ),
    dataclasses.replace(
        DRILLED,
        drill="bank_killed",
        title="銀行が落ちて、戻ってくる",
        traffic=kill_the_bank,
        requests=3 * KILLED + 1,
        invariants=(
            Invariant(
                name="refused",
                label="止まる間に 503 を受け取った注文",
                observe=lambda trace: sum(e.status == 503 for e in trace.step("outage")),
                expected=KILLED,
                why="待たせ続けずに、失敗したと答えます。",
            ),
            Invariant(
                name="back",
                label="戻ったあとに受け付けた注文",
                observe=lambda trace: succeeded(trace, "back"),
                expected=KILLED,
                why="ワーカーは起動し直さなくても、自分で元に戻ります。",
            ),
            Invariant(
                name="charges",
                label="決済された回数",
                observe=lambda trace: last(trace, "charges"),
                expected=2 * KILLED,
                why="止まる前の 30 件と、戻ったあとの 30 件です。",
            ),
        ),
    ),
)
