"""4 つのワーカーで答えているサーバーに、値を間違えた設定でデプロイします。"""

import math

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
ORDERS = 100
PAYMENT = "http://127.0.0.1:9000/charges"
WORKING = {"PAYMENT_URL": PAYMENT, "PAYMENT_TIMEOUT": "3"}
BROKEN = {"PAYMENT_URL": PAYMENT, "PAYMENT_TIMEOUT": "5s"}  # 「5」と書くはずだった


async def traffic(cluster: Cluster) -> None:
    await send(cluster, "before")
    await cluster.deploy(BROKEN)
    await send(cluster, "after")


async def send(cluster: Cluster, step: str) -> None:
    await burst(cluster, ORDERS, "POST", "/orders", step=step, timeout=60)


# --8<-- [end:traffic]
def accepted(trace: Trace, step: str) -> float:
    return sum(exchange.ok for exchange in trace.step(step))


def final(trace: Trace, name: str) -> float:
    return (trace.measured(name) or [math.nan])[-1]


def refused(trace: Trace) -> float:
    """失敗と分かったデプロイの数。終わりも答えもしないデプロイには、終了コードがない。"""
    return sum(status != 0 for status in trace.measured("deploy.status"))


def endless(trace: Trace) -> float:
    return sum(e.detail == "deploy.status" and e.value is None for e in trace.events)


BEFORE = Invariant(
    name="before",
    label="デプロイの前に受け付けた注文",
    observe=lambda trace: accepted(trace, "before"),
    expected=ORDERS,
    why="正しい設定で起動した 4 つのワーカーが、100 件に答えます。",
)
# --8<-- [start:invariants]
REFUSED = Invariant(
    name="refused",
    label="終了コードが 0 でないデプロイ",
    observe=refused,
    expected=1,
    why="起動できない設定のデプロイは、失敗と報告されます。",
)
STARTED = Invariant(
    name="started",
    label="間違えた設定で起動したワーカー",
    observe=lambda trace: final(trace, "deploy.started"),
    expected=0,
    why="間違いは、ワーカーを起動する前に見つかります。",
)
AFTER = Invariant(
    name="after",
    label="デプロイのあとに受け付けた注文",
    observe=lambda trace: accepted(trace, "after"),
    expected=ORDERS,
    why="デプロイに失敗しても、前のサーバーが答え続けます。",
)
# --8<-- [end:invariants]
EXPERIMENT = Experiment(
    topic="startup_failure",
    title="起動の失敗",
    traffic=traffic,
    requests=2 * ORDERS,
    environment=WORKING,
    may_lose_requests=True,  # サーバーがいなくなれば、注文はだれにも届かない
    invariants=(BEFORE, REFUSED, STARTED, AFTER),
)


# --8<-- [start:drill]
async def one_fails(cluster: Cluster) -> None:
    """点検は通るが、4 つのワーカーのうち 1 つだけが、起動の途中で失敗する。"""
    await send(cluster, "before")
    await cluster.deploy({**WORKING, "FAULT": "one"})
    await send(cluster, "after")


async def all_killed(cluster: Cluster) -> None:
    """点検は通るが、ワーカーが起動の途中で kill -9 され続ける。直してデプロイし直す。"""
    await send(cluster, "before")
    await cluster.deploy({**WORKING, "FAULT": "kill"})
    await send(cluster, "after")
    await cluster.deploy(WORKING)
    await send(cluster, "repaired")


# --8<-- [end:drill]
NOBODY = Invariant(
    name="after",
    label="デプロイのあとに受け付けた注文",
    observe=lambda trace: accepted(trace, "after"),
    expected=0,
    why="点検を通ったので切り替えは済み、答えるサーバーがいません。",
)
DRILLS = (
    Experiment(
        topic="startup_failure",
        drill="one_fails",
        title="1 つのワーカーだけが起動に失敗する",
        traffic=one_fails,
        requests=2 * ORDERS,
        environment=WORKING,
        servers=frozenset({"uvicorn"}),
        may_lose_requests=True,
        invariants=(
            BEFORE,
            Invariant(
                name="status",
                label="デプロイの終了コード",
                observe=lambda trace: final(trace, "deploy.status"),
                expected=0,
                why="uvicorn の親は、全員を止めて、正常に終わったと報告します。",
            ),
            NOBODY,
        ),
    ),
    Experiment(
        topic="startup_failure",
        drill="killed_while_starting",
        title="ワーカーが起動の途中で kill -9 され続ける",
        traffic=all_killed,
        requests=3 * ORDERS,
        environment=WORKING,
        may_lose_requests=True,
        invariants=(
            BEFORE,
            Invariant(
                name="endless",
                label="終わりも答えもしないデプロイ",
                observe=endless,
                expected=1,
                why="親は、死んだワーカーの代わりを起動し続けます。",
            ),
            Invariant(
                name="tries",
                label="起動したワーカー",
                observe=lambda trace: trace.measured("deploy.started")[0],
                expected=8,
                relation=">=",
                why="4 つとも 2 回ずつ起動したところで、デプロイをあきらめました。",
            ),
            NOBODY,
            Invariant(
                name="repaired",
                label="直してデプロイし直したあとに受け付けた注文",
                observe=lambda trace: accepted(trace, "repaired"),
                expected=ORDERS,
                why="あきらめたあとでも、正しい版を出せば元に戻ります。",
            ),
        ),
    ),
)
