"""50 人が価格を見たあと、店が値上げし、もう 50 人が価格を見ます。"""

import math
from collections.abc import Iterable

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Exchange, Trace

# --8<-- [start:traffic]
READERS = 50
OLD, NEW = 100, 200  # 円


async def read(cluster: Cluster, count: int, step: str) -> None:
    # 1 件目を先に済ませる。冷えたキャッシュに同時に来る問題は、別のページで扱う
    first = await cluster.request("GET", "/price", step=step, value="price")
    rest = await burst(
        cluster,
        count - 1,
        "GET",
        "/price",
        step=step,
        value="price",
    )
    note_computations(cluster, step, [first, *rest])


async def traffic(cluster: Cluster) -> None:
    await cluster.request("PUT", "/price", step="prepare", json={"price": OLD})
    await read(cluster, READERS, "before")
    await cluster.request("PUT", "/price", step="update", json={"price": NEW})
    await read(cluster, READERS, "after")


# --8<-- [end:traffic]
def note_computations(cluster: Cluster, step: str, exchanges: Iterable[Exchange]) -> None:
    """Keep how often the price was loaded: the answers say so, recordings keep no answers."""
    loaded = sum(e.body.get("computed", 0) for e in exchanges if isinstance(e.body, dict))
    cluster.trace.note("measured", detail=f"computations.{step}", value=loaded)


def computations(trace: Trace, step: str) -> float:
    return sum(trace.measured(f"computations.{step}"))


def answered(trace: Trace) -> float:
    return sum(exchange.ok for exchange in trace.exchanges)


def lowest(trace: Trace) -> float:
    return min((e.value for e in trace.step("after") if e.value is not None), default=math.nan)


def stale(trace: Trace, step: str = "after") -> float:
    return sum(exchange.value == OLD for exchange in trace.step(step))


EXPERIMENT = Experiment(
    topic="per_process_cache",
    title="プロセスごとのキャッシュ",
    traffic=traffic,
    requests=2 * READERS + 2,
    pictured="lowest",
    needs=frozenset({"files", "redis"}),
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="answered",
            label="200 で答えたリクエスト",
            observe=answered,
            expected=2 * READERS + 2,
            why="送った 102 件が、すべて受け付けられたことを確かめます。",
        ),
        Invariant(
            name="lowest",
            label="値上げ後に返したいちばん安い価格",
            observe=lowest,
            expected=NEW,
            why="値上げが済んだら、どのワーカーも 200 円と答えます。",
        ),
        Invariant(
            name="stale",
            label="値上げ後に古い価格を返した件数",
            observe=stale,
            expected=0,
            why="1 件でも 100 円が返れば、その客には古い価格で売ることになります。",
        ),
        Invariant(
            name="computations",
            label="最初の 50 件で価格を読み込んだ回数",
            observe=lambda trace: computations(trace, "before"),
            expected=1,
            why="キャッシュが 1 つなら、読み込むのは最初の 1 件だけです。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
VISITORS = 20


async def stop_redis(cluster: Cluster) -> None:
    await cluster.request("PUT", "/price", step="prepare", json={"price": OLD})
    await read(cluster, VISITORS, "up")
    await cluster.stop_service("redis")
    await read(cluster, VISITORS, "down")
    await cluster.request("PUT", "/price", step="update", json={"price": NEW})
    await read(cluster, VISITORS, "down_updated")
    await cluster.start_service("redis")
    await read(cluster, VISITORS, "back")


# --8<-- [end:drill]
PATIENCE = 2.0
"""Seconds: two waits of 0.5 s (read, write) are the most that good.py allows, and a margin."""
DOWN = ("down", "update", "down_updated")


def while_down(trace: Trace) -> list[Exchange]:
    return [exchange for step in DOWN for exchange in trace.step(step)]


DRILLS = (
    Experiment(
        topic="per_process_cache",
        drill="redis_stop",
        title="Redis が止まり、そのあいだに値上げする",
        traffic=stop_redis,
        requests=4 * VISITORS + 2,
        needs=frozenset({"files", "redis"}),
        invariants=(
            Invariant(
                name="answered",
                label="停止中も 2 秒以内に 200 で答えたリクエスト",
                observe=lambda trace: sum(
                    e.ok and e.end - e.start <= PATIENCE for e in while_down(trace)
                ),
                expected=2 * VISITORS + 1,
                why="キャッシュは速くするための部品で、なくても答えられます。",
            ),
            Invariant(
                name="unprotected",
                label="停止中に価格を読み込んだ回数",
                observe=lambda trace: (
                    computations(trace, "down") + computations(trace, "down_updated")
                ),
                expected=2 * VISITORS,
                why="止まっている間は、40 件すべてがデータベースに届きます。",
            ),
            Invariant(
                name="stale",
                label="値上げ後に古い価格を返した件数",
                observe=lambda trace: stale(trace, "down_updated") + stale(trace, "back"),
                expected=0,
                why="遅くなっても、間違った価格は返しません。",
            ),
            Invariant(
                name="recovered",
                label="再開後の 20 件で価格を読み込んだ回数",
                observe=lambda trace: computations(trace, "back"),
                expected=1,
                why="Redis が戻れば、アプリを再起動しなくてもキャッシュが働きます。",
            ),
        ),
    ),
)
