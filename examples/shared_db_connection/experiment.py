"""100 件の注文が届き、半分は受け付けられ、半分は断られ、最後に記録と突き合わせます。"""

import asyncio
import math
from collections import Counter
from dataclasses import replace

from workerlab.cluster import Cluster
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Exchange, Trace

# --8<-- [start:traffic]
ORDERS = 100


async def traffic(cluster: Cluster) -> None:
    await order_and_compare(cluster, ORDERS, concurrency=8)


async def order_and_compare(cluster: Cluster, orders: int, *, concurrency: int) -> None:
    numbers = iter(range(orders))
    answers: list[tuple[int, Exchange]] = []

    async def customer() -> None:
        for number in numbers:  # 奇数の番号は、請求できないカードで注文する
            order = {"number": number, "card_is_valid": number % 2 == 0}
            exchange = await cluster.request("POST", "/orders", step="order", json=order)
            answers.append((number, exchange))

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(customer())
    read = await cluster.request("GET", "/orders", step="read")
    if read.ok:
        compare(cluster.trace, answers, set(read.body["numbers"]))


def compare(trace: Trace, answers: list[tuple[int, Exchange]], kept: set[int]) -> None:
    missing = [e for number, e in answers if e.ok and number not in kept]
    ghosts = [e for number, e in answers if not e.ok and number in kept]
    trace.note("measured", detail="orders.missing", value=len(missing))
    trace.note("measured", detail="orders.ghosts", value=len(ghosts))
    draw(trace, [*missing, *ghosts])


# --8<-- [end:traffic]
def draw(trace: Trace, wrong: list[Exchange]) -> None:
    """図のために、各ワーカーが出した誤った答えの累計を、注文の応答の値にします。"""
    ids = {id(exchange) for exchange in wrong}
    total: Counter[int | None] = Counter()
    for index, exchange in enumerate(trace.exchanges):
        if exchange.step == "order":
            total[exchange.worker] += id(exchange) in ids
            trace.exchanges[index] = replace(exchange, value=total[exchange.worker])


def decided(trace: Trace) -> float:
    return sum(exchange.status in (200, 409) for exchange in trace.step("order"))


def measured(trace: Trace, name: str) -> float:
    return next(iter(trace.measured(name)), math.nan)


MISSING = Invariant(
    name="missing",
    label="受け付けたのに残っていない注文",
    observe=lambda trace: measured(trace, "orders.missing"),
    expected=0,
    why="200 を返したら、その注文は確定しています。",
)
GHOSTS = Invariant(
    name="ghosts",
    label="断ったのに残っている注文",
    observe=lambda trace: measured(trace, "orders.ghosts"),
    expected=0,
    why="200 以外を返したら、その注文は取り消されています。",
)
EXPERIMENT = Experiment(
    topic="shared_db_connection",
    title="使い回したデータベース接続",
    traffic=traffic,
    requests=ORDERS + 1,
    needs=frozenset({"postgres"}),
    pictured="missing",
    invariants=(
        Invariant(
            name="decided",
            label="受け付けたか断った注文",
            observe=decided,
            expected=ORDERS,
            why="100 件のすべてに、200 か 409 の答えが返ります。",
        ),
        MISSING,
        GHOSTS,
    ),
)


RUSH = 300
CROWD = 120


async def rush(cluster: Cluster) -> None:
    # 常に 120 人が待っている。good.py のプールは 4 ワーカーで最大 4 × (5 + 10) = 60 本
    await order_and_compare(cluster, RUSH, concurrency=CROWD)


READERS = 40
OWN_ORDERS = 8


# --8<-- [start:preload]
async def read_own_orders(cluster: Cluster) -> None:
    for number in range(OWN_ORDERS):
        order = {"number": number, "card_is_valid": True}
        await cluster.request("POST", "/orders", step="order", json=order)
    readers = iter(range(READERS))

    async def customer() -> None:
        for reader in readers:
            number = reader % OWN_ORDERS
            answer = await cluster.request(
                "GET", f"/orders/{number}", step="read", value="number", timeout=1.0
            )
            right = answer.ok and answer.value == number
            foreign = answer.ok and answer.value != number
            cluster.trace.note("measured", detail="read.right", value=float(right))
            cluster.trace.note("measured", detail="read.foreign", value=float(foreign))

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(customer())


# --8<-- [end:preload]
DRILLS = (
    Experiment(
        topic="shared_db_connection",
        drill="too_many_connections",
        title="接続の合計がデータベースの上限を超える",
        traffic=rush,
        requests=RUSH + 1,
        needs=frozenset({"postgres"}),
        invariants=(
            Invariant(
                name="refused",
                label="500 になった注文",
                observe=lambda trace: sum(e.status == 500 for e in trace.step("order")),
                expected=1,
                relation=">=",
                why="接続は最大 60 本要りますが、データベースが許すのは 30 本です。",
            ),
            MISSING,
            GHOSTS,
        ),
    ),
    Experiment(
        topic="shared_db_connection",
        drill="preload",
        title="gunicorn --preload で、fork の前にアプリを読み込む",
        traffic=read_own_orders,
        requests=OWN_ORDERS + READERS,
        needs=frozenset({"postgres"}),
        servers=frozenset({"gunicorn-asgi", "gunicorn-uvicorn"}),
        options=("--preload",),
        may_lose_requests=True,
        invariants=(
            Invariant(
                name="right",
                label="自分の注文を読めた回数",
                observe=lambda trace: sum(trace.measured("read.right")),
                expected=READERS,
                why="接続は fork の後に作られるので、どのワーカーも自分の接続で読みます。",
            ),
            Invariant(
                name="foreign",
                label="ほかのリクエストの行が返った回数",
                observe=lambda trace: sum(trace.measured("read.foreign")),
                expected=0,
                why="1 本のソケットを分け合うプロセスがなければ、返事は取り違えられません。",
            ),
        ),
    ),
)
