"""60 件の測定値を 15 件ずつ同時に送り、ファイルに何が残ったかを尋ねます。"""

import json
import math
from collections.abc import Callable

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Exchange, Trace

# --8<-- [start:traffic]
WAVES, AT_ONCE = 4, 15
READINGS = WAVES * AT_ONCE
READING = {"samples": [1_000_000 + i for i in range(3000)]}  # JSON で 27 kB
LOOKS = 24
PATIENCE = 4.0  # 秒。これを過ぎたら、送り手はあきらめて切断する


async def traffic(cluster: Cluster) -> None:
    await burst(cluster, LOOKS, "GET", "/readings", step="before")
    for _ in range(WAVES):
        answers = await burst(
            cluster,
            AT_ONCE,
            "POST",
            "/readings",
            step="add",
            concurrency=AT_ONCE,
            json=READING,
            value="number",
            timeout=PATIENCE,
        )
        if any(answer.status is None for answer in answers):
            return  # 答えが返らなくなったアプリに、これ以上は送らない
    note(cluster, await cluster.request("GET", "/readings", step="read"))


# --8<-- [end:traffic]
def note(cluster: Cluster, read: Exchange) -> None:
    """答えの本文は記録に残らないので、判定に使う数を出来事として残す。"""
    for name in ("lines", "intact", "count"):
        if read.ok:
            cluster.trace.note("measured", detail=name, value=read.body[name])


def accepted(trace: Trace) -> float:
    return sum(exchange.ok for exchange in trace.step("add"))


def last(name: str) -> Callable[[Trace], float]:
    return lambda trace: (trace.measured(name) or [math.nan])[-1]


EXPERIMENT = Experiment(
    topic="file_append",
    title="ファイルへの追記",
    traffic=traffic,
    requests=LOOKS + READINGS + 1,
    pictured="count",
    needs=frozenset({"files"}),
    may_lose_requests=True,  # デッドロックする偽の直し方では、答えが返らない
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="accepted",
            label="受け付けた測定値",
            observe=accepted,
            expected=READINGS,
            why="送った 60 件が、すべて書き終わったと答えられたことを確かめます。",
        ),
        Invariant(
            name="intact",
            label="JSON として読める行",
            observe=last("intact"),
            expected=READINGS,
            why="1 件は 1 行で、どの行もほかの行と混ざりません。",
        ),
        Invariant(
            name="lines",
            label="ファイルの行数",
            observe=last("lines"),
            expected=READINGS,
            why="受け付けた件数と、ファイルにある行の数は同じです。",
        ),
        Invariant(
            name="count",
            label="通し番号のファイルの値",
            observe=last("count"),
            expected=READINGS,
            why="番号は 1 件ごとに 1 つ進み、最後は件数と同じになります。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
async def separate_folders(cluster: Cluster) -> None:
    """4 つのワーカーが、別々のコンテナのように自分のフォルダーを持つ。"""
    await burst(
        cluster, READINGS, "POST", "/readings", step="add", json=READING, value="number"
    )


async def fill_disk(cluster: Cluster) -> None:
    """1 MiB しか書けないディスクに、60 件を送る。"""
    await burst(
        cluster, READINGS, "POST", "/readings", step="add", json=READING, value="number"
    )
    note(cluster, await cluster.request("GET", "/readings", step="read", value="intact"))


# --8<-- [end:drill]
def last_numbers(trace: Trace) -> dict[int | None, float]:
    """各ワーカーが返した、いちばん大きい番号。"""
    numbers: dict[int | None, float] = {}
    for exchange in trace.step("add"):
        numbers[exchange.worker] = max(numbers.get(exchange.worker, 0), exchange.value or 0)
    return numbers


GUNICORN = frozenset({"gunicorn-asgi", "gunicorn-uvicorn"})
"""訓練は、ワーカーごとの準備を gunicorn の設定ファイルに書いている。"""
FITS = 2**20 // len(json.dumps(READING) + "\n")
"""1 MiB に収まる件数。"""

DRILLS = (
    Experiment(
        topic="file_append",
        drill="own_folder",
        title="コンテナごとに別のフォルダーへ書く",
        traffic=separate_folders,
        requests=READINGS,
        needs=frozenset({"files"}),
        servers=GUNICORN,
        options=("--config=examples/file_append/own_folder_conf.py",),
        invariants=(
            Invariant(
                name="accepted",
                label="受け付けた測定値",
                observe=accepted,
                expected=READINGS,
                why="エラーは 1 件も出ません。",
            ),
            Invariant(
                name="complete",
                label="60 番まで数えたワーカー",
                observe=lambda trace: sum(e.value == READINGS for e in trace.step("add")),
                expected=0,
                why="番号のファイルもロックもワーカーの数だけあり、全体を数える場所がありません。",
            ),
            Invariant(
                name="total",
                label="各ワーカーの最後の番号の合計",
                observe=lambda trace: sum(last_numbers(trace).values()),
                expected=READINGS,
                why="失われた測定値はなく、別々のフォルダーに分かれています。",
            ),
        ),
    ),
    Experiment(
        topic="file_append",
        drill="disk_full",
        title="途中でディスクがいっぱいになる",
        traffic=fill_disk,
        requests=READINGS + 1,
        needs=frozenset({"files"}),
        servers=GUNICORN,
        options=("--config=examples/file_append/disk_full_conf.py",),
        invariants=(
            Invariant(
                name="accepted",
                label="受け付けた測定値",
                observe=accepted,
                expected=FITS,
                why="1 MiB に収まる分だけを受け付けます。",
            ),
            Invariant(
                name="refused",
                label="500 で断った測定値",
                observe=lambda trace: sum(e.status == 500 for e in trace.step("add")),
                expected=READINGS - FITS,
                why="書き切れなかったときは、書けたふりをせずに断ります。",
            ),
            Invariant(
                name="intact",
                label="JSON として読める行",
                observe=last("intact"),
                expected=FITS,
                why="受け付けた測定値は、どれも失われません。",
            ),
            Invariant(
                name="torn",
                label="途中で切れた行",
                observe=lambda trace: last("lines")(trace) - last("intact")(trace),
                expected=1,
                why="最後の 1 回の write は途中までしか書けず、切れた行が残ります。",
            ),
        ),
    ),
)
