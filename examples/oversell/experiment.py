"""在庫 100 個の商品を 300 人が買いに来て、最後に在庫と台帳を突き合わせます。"""

import asyncio
import math

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Beside, Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
STOCK = 100
BUYERS = 300
CROWD = 60  # 常に 60 人が待っている


async def traffic(cluster: Cluster) -> None:
    await buy(cluster, BUYERS, step="purchase")
    await count(cluster)


async def buy(cluster: Cluster, buyers: int, *, step: str) -> None:
    await burst(
        cluster,
        buyers,
        "POST",
        "/purchases",
        step=step,
        concurrency=CROWD,
        value="receipt",
        timeout=60,
    )


async def count(cluster: Cluster) -> None:
    stock = await cluster.request("GET", "/stock", step="stock")
    for name in ("quantity", "sold") if stock.ok else ():
        number = stock.body[name]
        cluster.trace.note("measured", detail=f"stock.{name}", value=number)


# --8<-- [end:traffic]
def last(trace: Trace, name: str) -> float:
    values = trace.measured(name)
    return values[-1] if values else math.nan


def unaccounted(trace: Trace) -> float:
    """Items that left the stock without a row in the ledger, or the other way round."""
    return abs(STOCK - last(trace, "stock.quantity") - last(trace, "stock.sold"))


def answers(trace: Trace, step: str, *statuses: int | None) -> float:
    return sum(exchange.status in statuses for exchange in trace.step(step))


UNACCOUNTED = Invariant(
    name="unaccounted",
    label="減った在庫と、台帳の行数の差",
    observe=unaccounted,
    expected=0,
    why="1 個減るたびに、台帳に 1 行増えます。",
)
EXPERIMENT = Experiment(
    topic="oversell",
    title="在庫の売りすぎ",
    traffic=traffic,
    requests=BUYERS + 1,
    needs=frozenset({"postgres"}),
    pictured="sold",
    invariants=(
        Invariant(
            name="decided",
            label="売れたか断られた人",
            observe=lambda trace: answers(trace, "purchase", 200, 409),
            expected=BUYERS,
            why="300 人のすべてに、200（売れた）か 409（売り切れ）の答えが返ります。",
        ),
        Invariant(
            name="sold",
            label="売れた個数",
            observe=lambda trace: answers(trace, "purchase", 200),
            expected=STOCK,
            why="100 個しかない商品は、ちょうど 100 個売れます。",
        ),
        Invariant(
            name="quantity",
            label="残った在庫",
            observe=lambda trace: last(trace, "stock.quantity"),
            expected=0,
            why="100 個売れたら、1 つも残りません。",
        ),
        UNACCOUNTED,
    ),
)


STOCKTAKE = "stocktake"
FEW = 40


# --8<-- [start:row-locked]
async def buy_while_locked(cluster: Cluster) -> None:
    await buy(cluster, FEW, step="locked")  # 在庫の行は、棚卸しのバッチが握っている
    await cluster.stop_service(STOCKTAKE)
    await buy(cluster, FEW, step="after")
    await count(cluster)


# --8<-- [end:row-locked]
# --8<-- [start:killed]
async def kill_between_stock_and_ledger(cluster: Cluster) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(buy(cluster, 1, step="killed"))
        while await cluster.measure("postgres", "waiting") == 0:
            pass  # 在庫を減らし終えて、台帳に書けるのを待つまで
        workers = await cluster.workers()
        for worker in workers:
            await cluster.kill(worker)
    while len(await cluster.workers()) < len(workers):
        await asyncio.sleep(0.1)  # 全員が起動し直すまで
    await cluster.measure("postgres", "waiting")  # 死んだ人の処理は、まだ続いているか
    await cluster.stop_service(STOCKTAKE)
    await buy(cluster, FEW, step="after")
    await count(cluster)


# --8<-- [end:killed]
def stocktake(table: str) -> tuple[Beside, ...]:
    command = ("examples.oversell.stocktake", table)
    return (Beside(name=STOCKTAKE, command=command, ready="ロックを取りました"),)


AFTER = Invariant(
    name="after",
    label="そのあとに買えた人",
    observe=lambda trace: answers(trace, "after", 200),
    expected=FEW,
    why="バッチが終われば、ロックは残りません。",
)
DRILLS = (
    Experiment(
        topic="oversell",
        drill="row_locked",
        title="在庫の行をロックしたまま、バッチが止まる",
        traffic=buy_while_locked,
        requests=2 * FEW + 1,
        needs=frozenset({"postgres"}),
        environment={"LOCK_TIMEOUT": "1s"},
        beside=stocktake("items"),
        invariants=(
            Invariant(
                name="refused",
                label="503 で断られた人",
                observe=lambda trace: answers(trace, "locked", 503),
                expected=FEW,
                why="在庫があっても売れません。1 秒待って、混み合っていると答えます。",
            ),
            AFTER,
            UNACCOUNTED,
        ),
    ),
    Experiment(
        topic="oversell",
        drill="killed_midway",
        title="在庫を減らし、台帳に書く前に kill -9 される",
        traffic=kill_between_stock_and_ledger,
        requests=FEW + 2,
        needs=frozenset({"postgres"}),
        environment={"LOCK_TIMEOUT": "60s"},
        beside=stocktake("sales"),
        may_lose_requests=True,
        invariants=(
            Invariant(
                name="lost",
                label="答えを受け取れなかった人",
                observe=lambda trace: answers(trace, "killed", None),
                expected=1,
                why="その人には、買えたかどうかが分かりません。",
            ),
            Invariant(
                name="orphans",
                label="ワーカーの死後も PostgreSQL でロックを待つ処理",
                observe=lambda trace: last(trace, "postgres.waiting"),
                expected=1,
                why="ロックを待つ PostgreSQL は、相手が死んだことに気づきません。",
            ),
            AFTER,
            UNACCOUNTED,
        ),
    ),
)
