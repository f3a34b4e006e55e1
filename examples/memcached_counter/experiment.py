"""記事を 300 回開いて足あとを 120 個残し、Memcached に何が残ったかを尋ねます。"""

import math

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
VIEWS, READERS = 300, 120


async def traffic(cluster: Cluster) -> None:
    await burst(cluster, VIEWS, "POST", "/views", step="view", value="views")
    await burst(
        cluster,
        READERS,
        "POST",
        "/readers",
        step="reader",
        json={"name": "佐藤"},
    )
    await cluster.request("GET", "/views", step="read", value="views")
    readers = await cluster.request("GET", "/readers", step="readers")
    if readers.ok:
        cluster.trace.note("measured", detail="readers", value=readers.body["readers"])


# --8<-- [end:traffic]
def accepted(trace: Trace) -> float:
    return sum(exchange.ok for exchange in trace.step("view"))


def different_numbers(trace: Trace) -> float:
    return len({exchange.value for exchange in trace.step("view")} - {None})


def last_read(trace: Trace) -> float:
    value = trace.step("read")[-1].value
    return math.nan if value is None else value


EXPERIMENT = Experiment(
    topic="memcached_counter",
    title="Memcached のカウンター",
    traffic=traffic,
    requests=VIEWS + READERS + 2,
    pictured="last_read",
    needs=frozenset({"memcached"}),
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="accepted",
            label="成功した加算の件数",
            observe=accepted,
            expected=VIEWS,
            why="送った 300 件が、すべて数えるところまで届いたことを確かめます。",
        ),
        Invariant(
            name="last_read",
            label="最後に尋ねて返った閲覧数",
            observe=last_read,
            expected=VIEWS,
            why="300 回開いたなら、閲覧数は 300 です。",
        ),
        Invariant(
            name="different_numbers",
            label="返した番号の種類",
            observe=different_numbers,
            expected=VIEWS,
            why="通し番号は 1 回に 1 つで、同じ番号は 2 度出ません。",
        ),
        Invariant(
            name="readers",
            label="残った足あと",
            observe=lambda trace: (trace.measured("readers") or [math.nan])[-1],
            expected=READERS,
            why="200 個まで残すので、120 個の足あとは 1 つも欠けません。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
SOME = 100
BATCHES = 60  # 題名は 2000 件ずつ、12 万件。8 MB には収まらない


async def fill_memcached(cluster: Cluster) -> None:
    """閲覧数を数えたあと、ほかの記事の題名を同じ Memcached に置き続ける。"""
    await burst(cluster, SOME, "POST", "/views", step="view", value="views")
    for batch in range(BATCHES):
        await cluster.request("POST", f"/titles/{batch}", step="fill")
    await burst(cluster, SOME, "POST", "/views", step="view", value="views")
    await cluster.request("GET", "/views", step="read", value="views")


async def restart_memcached(cluster: Cluster) -> None:
    """閲覧数を数えている途中で、Memcached を止めて再開する。"""
    await burst(cluster, SOME, "POST", "/views", step="before", value="views")
    await cluster.stop_service("memcached")
    await burst(cluster, SOME, "POST", "/views", step="down", value="views")
    await cluster.start_service("memcached")
    await burst(cluster, SOME, "POST", "/views", step="after", value="views")
    await cluster.request("GET", "/views", step="read", value="views")


# --8<-- [end:drill]
DRILLS = (
    Experiment(
        topic="memcached_counter",
        drill="evicted",
        title="Memcached がいっぱいになる",
        traffic=fill_memcached,
        requests=2 * SOME + BATCHES + 1,
        needs=frozenset({"memcached"}),
        invariants=(
            Invariant(
                name="accepted",
                label="成功した加算の件数",
                observe=accepted,
                expected=2 * SOME,
                why="エラーは 1 件も出ません。",
            ),
            Invariant(
                name="filled",
                label="成功した題名の書き込み",
                observe=lambda trace: sum(e.ok for e in trace.step("fill")),
                expected=BATCHES,
                why="いっぱいになっても、書き込みは断られません。",
            ),
            Invariant(
                name="last_read",
                label="最後に尋ねて返った閲覧数",
                observe=last_read,
                expected=SOME,
                why="閲覧数は追い出され、後半の 100 件だけが残りました。",
            ),
            Invariant(
                name="different_numbers",
                label="返した番号の種類",
                observe=different_numbers,
                expected=SOME,
                why="番号は 1 に戻り、同じ番号が 2 度ずつ返りました。",
            ),
        ),
    ),
    Experiment(
        topic="memcached_counter",
        drill="memcached_restart",
        title="数えている途中で Memcached が再起動する",
        traffic=restart_memcached,
        requests=3 * SOME + 1,
        needs=frozenset({"memcached"}),
        invariants=(
            Invariant(
                name="counted",
                label="停止前に受け付けた加算",
                observe=lambda trace: sum(e.ok for e in trace.step("before")),
                expected=SOME,
                why="止める前は、すべて数えています。",
            ),
            Invariant(
                name="refused",
                label="停止中に 500 で断った加算",
                observe=lambda trace: sum(e.status == 500 for e in trace.step("down")),
                expected=SOME,
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
                why="Memcached は何も保存せず、停止前の 100 件を忘れます。",
            ),
        ),
    ),
)
