"""1000 人が来場し、最後に 1 人が人数を尋ねます。"""

import math

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
VISITORS = 1000


async def traffic(cluster: Cluster) -> None:
    # 1 件ごとに新しい接続。つなぎっぱなしにすると 1 つのワーカーにしか届かない
    await burst(
        cluster,
        VISITORS,
        "POST",
        "/visits",
        step="visit",
        concurrency=8,
        value="visits",
    )
    await cluster.request("GET", "/visits", step="read", value="visits")


# --8<-- [end:traffic]
def accepted(trace: Trace) -> float:
    return sum(exchange.ok for exchange in trace.step("visit"))


def different_numbers(trace: Trace) -> float:
    return len({exchange.value for exchange in trace.step("visit")} - {None})


def last_read(trace: Trace) -> float:
    value = trace.step("read")[-1].value
    return math.nan if value is None else value


EXPERIMENT = Experiment(
    topic="in_memory_counter",
    title="メモリの中のカウンター",
    traffic=traffic,
    requests=VISITORS + 1,
    pictured="last_read",
    needs=frozenset({"redis"}),
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="accepted",
            label="成功した加算の件数",
            observe=accepted,
            expected=VISITORS,
            why="送った 1000 件が、すべて数えるところまで届いたことを確かめます。",
        ),
        Invariant(
            name="last_read",
            label="最後に尋ねて返った数",
            observe=last_read,
            expected=VISITORS,
            why="どのワーカーが答えても、来場者は 1000 人です。",
        ),
        Invariant(
            name="different_numbers",
            label="返した番号の種類",
            observe=different_numbers,
            expected=VISITORS,
            why="通し番号は 1 人に 1 つで、同じ番号は 2 度出ません。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
GUESTS = 100


async def restart_valkey(cluster: Cluster) -> None:
    await burst(cluster, GUESTS, "POST", "/visits", step="before", value="visits")
    await cluster.stop_service("redis")
    await burst(cluster, GUESTS, "POST", "/visits", step="down", value="visits")
    await cluster.start_service("redis")
    await burst(cluster, GUESTS, "POST", "/visits", step="after", value="visits")
    await cluster.request("GET", "/visits", step="read", value="visits")


# --8<-- [end:drill]
DRILLS = (
    Experiment(
        topic="in_memory_counter",
        drill="valkey_restart",
        title="数えている途中で Valkey が再起動する",
        traffic=restart_valkey,
        requests=3 * GUESTS + 1,
        needs=frozenset({"redis"}),
        invariants=(
            Invariant(
                name="counted",
                label="停止前に受け付けた加算",
                observe=lambda trace: sum(e.ok for e in trace.step("before")),
                expected=GUESTS,
                why="止める前は、すべて数えています。",
            ),
            Invariant(
                name="refused",
                label="停止中に 500 で断った加算",
                observe=lambda trace: sum(e.status == 500 for e in trace.step("down")),
                expected=GUESTS,
                why="数えられないときは、数えたふりをせずに断ります。",
            ),
            Invariant(
                name="stale",
                label="再開後に失敗した加算",
                observe=lambda trace: sum(not e.ok for e in trace.step("after")),
                relation="<=",
                expected=4 * 8,
                why="プールの古い接続は、1 本につき 1 回まで失敗します（4 × 8 本）。",
            ),
            Invariant(
                name="survived",
                label="再起動を越えて残った加算",
                observe=lambda trace: last_read(trace) - sum(e.ok for e in trace.step("after")),
                expected=0,
                why="永続化しない Valkey は空で始まり、停止前の 100 件を忘れます。",
            ),
        ),
    ),
)
