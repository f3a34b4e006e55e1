"""240 件の帳票が求められ、その間の接続を数えます。次に、50 件のエラーを起こします。"""

import asyncio
import math

from workerlab.cluster import Cluster, burst
from workerlab.errors import ServiceError
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Exchange, Trace

MAX_CONNECTIONS = 30  # この PostgreSQL の上限
CONNECTION_BUDGET = 20

# --8<-- [start:traffic]
REPORTS = 240
WAITING = 120
ERRORS = 50
LOOKS = 20


async def traffic(cluster: Cluster) -> None:
    async with asyncio.TaskGroup() as group:
        rush = group.create_task(
            burst(cluster, REPORTS, "GET", "/reports/1", step="report", concurrency=WAITING)
        )
        while not rush.done():
            await count(cluster, "backends")
    # 削除された番号。読んだ後に例外になり、410 が返る
    await burst(cluster, ERRORS, "GET", "/reports/0", step="error", concurrency=ERRORS)
    for _ in range(LOOKS):  # 応答の直後は、まだ後片付けの途中のことがある
        if await count(cluster, "idle_in_transaction") == 0:
            break


async def count(cluster: Cluster, quantity: str) -> float:
    try:
        return await cluster.measure("postgres", quantity)
    except ServiceError:  # 数えるための接続も断られた。上限まで使い切られている
        cluster.trace.note("measured", detail="postgres.backends", value=MAX_CONNECTIONS)
        return math.nan


# --8<-- [end:traffic]
def failed(exchanges: list[Exchange]) -> int:
    return sum(e.status is not None and e.status >= 500 for e in exchanges)


def over_budget(trace: Trace) -> float:
    peak = max(trace.measured("postgres.backends"), default=math.nan)
    return max(0.0, peak - CONNECTION_BUDGET)


def left_open(trace: Trace) -> float:
    looks = trace.measured("postgres.idle_in_transaction")
    return looks[-1] if looks else math.nan


EXPERIMENT = Experiment(
    topic="pool_exhaustion",
    title="接続プールの枯渇",
    traffic=traffic,
    requests=REPORTS + ERRORS,
    needs=frozenset({"postgres"}),
    invariants=(
        Invariant(
            name="answered",
            label="答えが返ったリクエスト",
            observe=lambda trace: sum(e.status is not None for e in trace.exchanges),
            expected=REPORTS + ERRORS,
            why="290 件のすべてに、何かの答えが返ります。",
        ),
        Invariant(
            name="failed",
            label="5xx の応答",
            observe=lambda trace: failed(trace.exchanges),
            expected=0,
            why="混み合っても待てば済み、失敗にはなりません。",
        ),
        Invariant(
            name="over_budget",
            label="予算を超えて開いた接続",
            observe=over_budget,
            expected=0,
            why="全ワーカーの接続の合計は、最も多いときでも予算の 20 本までです。",
        ),
        Invariant(
            name="idle",
            label="エラーの後で放置されたトランザクション",
            observe=left_open,
            expected=0,
            why="例外になったリクエストも、借りた接続を返しています。",
        ),
    ),
)


AROUND = 40
TOGETHER = 12


# --8<-- [start:drill]
async def restart_postgres(cluster: Cluster) -> None:
    await burst(cluster, AROUND, "GET", "/reports/1", step="before", concurrency=TOGETHER)
    await cluster.stop_service("postgres")
    await cluster.start_service("postgres")
    await burst(cluster, AROUND, "GET", "/reports/1", step="after", concurrency=TOGETHER)


# --8<-- [end:drill]
DRILLS = (
    Experiment(
        topic="pool_exhaustion",
        drill="postgres_restart",
        title="PostgreSQL が再起動する",
        traffic=restart_postgres,
        requests=2 * AROUND,
        needs=frozenset({"postgres"}),
        invariants=(
            Invariant(
                name="before",
                label="再起動の前に成功した応答",
                observe=lambda trace: sum(e.ok for e in trace.step("before")),
                expected=AROUND,
                why="ここで、各ワーカーのプールに接続がたまります。",
            ),
            Invariant(
                name="after",
                label="再起動の後に成功した応答",
                observe=lambda trace: sum(e.ok for e in trace.step("after")),
                expected=AROUND,
                why="切れた接続は、貸す前に新しい接続へ取り替えられます。",
            ),
        ),
    ),
)
