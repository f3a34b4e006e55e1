"""空のデータベースで 4 つのワーカーを起動し、料金表を読みます。"""

import dataclasses
import math

from workerlab.cluster import Cluster, burst
from workerlab.errors import StartupError
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
READS = 200


async def traffic(cluster: Cluster) -> None:
    """起動は、もう済んでいる。その結果を読む。"""
    reads = await burst(
        cluster,
        READS,
        *("GET", "/plans"),
        step="read",
        concurrency=16,
        value="price",
    )
    for name in ("runs", "rows", "begun"):
        seen = [read.body[name] for read in reads if read.ok]
        cluster.trace.note("measured", detail=name, value=max(seen, default=math.nan))


# --8<-- [end:traffic]
def price(trace: Trace) -> float:
    return max((e.value for e in trace.exchanges if e.value is not None), default=math.nan)


def final(trace: Trace, name: str) -> float:
    return (trace.measured(name) or [math.nan])[-1]


ANSWERED = Invariant(
    name="answered",
    label="200 で答えたリクエスト",
    observe=lambda trace: sum(exchange.ok for exchange in trace.step("read")),
    expected=READS,
    why="アプリが起動し、送った 200 件にすべて答えたことを確かめます。",
)
# --8<-- [start:invariants]
RUNS = Invariant(
    name="runs",
    label="変更を行った回数",
    observe=lambda trace: final(trace, "runs"),
    expected=1,
    why="データベースは 1 つなので、変更も 1 回です。",
)
ROWS = Invariant(
    name="rows",
    label="料金表の行数",
    observe=lambda trace: final(trace, "rows"),
    expected=3,
    why="最初に入れる料金は 3 種類です。",
)
PRICE = Invariant(
    name="price",
    label="ライト料金（円）",
    observe=price,
    expected=1100,
    why="1000 円に、100 円の値上げが 1 回です。",
)
# --8<-- [end:invariants]
EXPERIMENT = Experiment(
    topic="lifespan_per_worker",
    title="ワーカーの数だけ動く起動処理",
    traffic=traffic,
    requests=READS,
    pictured="price",
    needs=frozenset({"files"}),
    invariants=(ANSWERED, RUNS, ROWS, PRICE),
)


# --8<-- [start:drill]
async def deploy_twice(cluster: Cluster) -> None:
    """値上げが途中で失敗する版を出し、そのあとで直した版を出す。"""
    await cluster.request("GET", "/plans", step="before", value="price")
    try:
        await cluster.restart({"RELEASE": "2", "FAULT": "error"})
    except StartupError:
        cluster.trace.note("measured", detail="refused", value=1)
    await cluster.restart({"RELEASE": "2"})
    await traffic(cluster)


# --8<-- [end:drill]
def begun(expected: float, why: str) -> Invariant:
    return Invariant(
        name="begun",
        label="値上げを始めたワーカー",
        observe=lambda trace: final(trace, "begun"),
        expected=expected,
        relation=">=",
        why=why,
    )


DRILLS = (
    dataclasses.replace(
        EXPERIMENT,
        drill="migrator_killed",
        title="ロックを持つワーカーが、変更の途中で kill -9 される",
        environment={"FAULT": "kill"},
        pictured="",
        invariants=(
            ANSWERED,
            begun(2, "途中で死んだワーカーと、引き継いだワーカーです。"),
            *(RUNS, ROWS, PRICE),
        ),
    ),
    dataclasses.replace(
        EXPERIMENT,
        drill="migration_fails",
        title="変更が途中で失敗する",
        traffic=deploy_twice,
        requests=1 + READS,
        environment={"RELEASE": "1"},
        pictured="",
        invariants=(
            Invariant(
                name="refused",
                label="起動できなかったデプロイ",
                observe=lambda trace: final(trace, "refused"),
                expected=1,
                why="変更に失敗した版は、1 件もリクエストを受けません。",
            ),
            ANSWERED,
            begun(2, "失敗したワーカーと、直した版で行ったワーカーです。"),
            *(RUNS, ROWS, PRICE),
        ),
    ),
)
