"""100 件の請求書を頼み、うち 20 件は発行できず、最後に番号を数えます。"""

import asyncio
import math

from workerlab.cluster import Cluster
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
ORDERS, REFUSED = 100, 20
CLIENTS = 16


async def traffic(cluster: Cluster) -> None:
    await issue(cluster, ORDERS, step="issue", without_address=ORDERS // REFUSED)
    await count(cluster)


async def issue(cluster: Cluster, orders: int, *, step: str, without_address: int = 0) -> None:
    remaining = iter(range(orders))

    async def client() -> None:
        for order in remaining:
            refused = without_address > 0 and order % without_address == 0
            await cluster.request(
                "POST",
                "/invoices",
                step=step,
                json={"has_address": not refused},
                value="number",
                timeout=60,
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())


async def count(cluster: Cluster) -> None:
    invoices = await cluster.request("GET", "/invoices", step="count")
    for name in ("issued", "distinct", "last") if invoices.ok else ():
        number = invoices.body[name]
        cluster.trace.note("measured", detail=f"invoices.{name}", value=number)


# --8<-- [end:traffic]
def last(trace: Trace, name: str) -> float:
    values = trace.measured(f"invoices.{name}")
    return values[-1] if values else math.nan


def answers(trace: Trace, step: str, *statuses: int | None) -> float:
    return sum(exchange.status in statuses for exchange in trace.step(step))


DUPLICATES = Invariant(
    name="duplicates",
    label="番号が重複した請求書",
    observe=lambda trace: last(trace, "issued") - last(trace, "distinct"),
    expected=0,
    why="同じ番号の請求書は、2 枚とありません。",
)
GAPS = Invariant(
    name="gaps",
    label="欠番",
    observe=lambda trace: last(trace, "last") - last(trace, "distinct"),
    expected=0,
    why="1 から最後の番号まで、すべてそろっています。",
)
EXPERIMENT = Experiment(
    topic="process_local_lock",
    title="プロセスの中だけのロック",
    traffic=traffic,
    requests=ORDERS + 1,
    needs=frozenset({"postgres"}),
    pictured="last",
    invariants=(
        Invariant(
            name="issued",
            label="発行した請求書",
            observe=lambda trace: answers(trace, "issue", 200),
            expected=ORDERS - REFUSED,
            why="宛先のない 20 件を除いて、すべて発行します。",
        ),
        Invariant(
            name="last",
            label="最後の番号",
            observe=lambda trace: last(trace, "last"),
            expected=ORDERS - REFUSED,
            why="80 枚を 1 から順に数えれば、80 で終わります。",
        ),
        DUPLICATES,
        GAPS,
    ),
)


AFTER = 40
LONG = {"pages": 300}  # 6 秒かかる。この間、ロックを持ち続ける


# --8<-- [start:drill]
async def kill_the_holder(cluster: Cluster) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(issue_long(cluster))
        await cluster.kill(await rendering(cluster))
        await issue(cluster, AFTER, step="after")
    await count(cluster)


async def restart_postgres_meanwhile(cluster: Cluster) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(issue_long(cluster))
        await rendering(cluster)
        await cluster.stop_service("postgres")
        await cluster.start_service("postgres")  # ロックは、接続とともに消えた
        await issue(cluster, AFTER, step="after")
    await count(cluster)


async def issue_long(cluster: Cluster) -> None:
    await cluster.request("POST", "/invoices", step="long", json=LONG, timeout=60)


async def rendering(cluster: Cluster) -> int:
    worker = 0
    while not worker:
        answer = await cluster.request("GET", "/rendering", step="look")
        worker = answer.body["rendering"]
    return worker


# --8<-- [end:drill]
ISSUED_AFTER = Invariant(
    name="after",
    label="そのあとに発行した請求書",
    observe=lambda trace: answers(trace, "after", 200),
    expected=AFTER,
    why="持ち主がいなくなったロックは、すぐに次の人に渡ります。",
)
DRILLS = (
    Experiment(
        topic="process_local_lock",
        drill="holder_killed",
        title="ロックを持つワーカーが kill -9 される",
        traffic=kill_the_holder,
        requests=AFTER + 3,
        needs=frozenset({"postgres"}),
        may_lose_requests=True,
        invariants=(
            Invariant(
                name="lost",
                label="答えを受け取れなかった人",
                observe=lambda trace: answers(trace, "long", None),
                expected=1,
                why="その請求書は発行されず、番号は次の人が使います。",
            ),
            ISSUED_AFTER,
            DUPLICATES,
            GAPS,
        ),
    ),
    Experiment(
        topic="process_local_lock",
        drill="lock_lost",
        title="発行の途中で PostgreSQL が再起動し、ロックが消える",
        traffic=restart_postgres_meanwhile,
        requests=AFTER + 3,
        needs=frozenset({"postgres"}),
        invariants=(
            Invariant(
                name="failed",
                label="ロックを失い、500 になった人",
                observe=lambda trace: answers(trace, "long", 500),
                expected=1,
                why="ロックと同じ接続で書くので、ロックを失った人は書けません。",
            ),
            ISSUED_AFTER,
            DUPLICATES,
            GAPS,
        ),
    ),
)
