"""300 件の注文を 20 件ずつ送り、そのたびにログに何行あるかを尋ねます。"""

import asyncio
import math

from workerlab.cluster import Cluster
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
WAVES, AT_A_TIME = 15, 20
ORDERS = WAVES * AT_A_TIME


async def traffic(cluster: Cluster) -> None:
    for wave in range(WAVES):
        first = wave * AT_A_TIME
        await send(cluster, range(first, first + AT_A_TIME))
        read = await cluster.request("GET", "/logs", step="read", value="orders")
    if read.ok:
        cluster.trace.note("measured", detail="named", value=read.body["named"])


async def send(cluster: Cluster, numbers: range, *, patience: float = 10) -> None:
    """番号の付いた注文を、8 件ずつ並行して送る。"""
    remaining = iter(numbers)

    async def client() -> None:
        for number in remaining:
            path = f"/orders/{number}"
            await cluster.request("POST", path, step="order", timeout=patience)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(client())


# --8<-- [end:traffic]
def accepted(trace: Trace) -> float:
    return sum(exchange.ok for exchange in trace.step("order"))


def logged(trace: Trace) -> float:
    value = trace.step("read")[-1].value
    return math.nan if value is None else value


def named(trace: Trace) -> float:
    return (trace.measured("named") or [math.nan])[-1]


EXPERIMENT = Experiment(
    topic="log_rotation",
    title="ログの世代交代",
    traffic=traffic,
    requests=ORDERS + WAVES,
    pictured="logged",
    needs=frozenset({"files"}),
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="accepted",
            label="受け付けた注文",
            observe=accepted,
            expected=ORDERS,
            why="送った 300 件が、すべて処理されたことを確かめます。",
        ),
        Invariant(
            name="logged",
            label="ログに残った行",
            observe=logged,
            expected=ORDERS,
            why="1 件の注文は、ログの 1 行になります。",
        ),
        Invariant(
            name="named",
            label="書いたワーカーが分かる行",
            observe=named,
            expected=ORDERS,
            why="どのプロセスの行かが分からなければ、原因をたどれません。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
LINE = len("2026-11-24 00:00:00,000 pid=1234567 order=000000\n")
FITS = 4096 // LINE
CLIENTS = 8


async def nobody_reads(cluster: Cluster) -> None:
    """パイプに入る分と、もう 8 件を送る。"""
    await send(cluster, range(FITS + CLIENTS), patience=2)


# --8<-- [end:drill]
def unanswered(trace: Trace) -> float:
    return sum(exchange.status is None for exchange in trace.step("order"))


DRILLS = (
    Experiment(
        topic="log_rotation",
        drill="stalled_reader",
        title="標準出力を読む係が止まる",
        traffic=nobody_reads,
        requests=FITS + CLIENTS,
        needs=frozenset({"files"}),
        servers=frozenset({"gunicorn-asgi", "gunicorn-uvicorn"}),
        options=("--config=examples/log_rotation/stalled_reader_conf.py",),
        may_lose_requests=True,
        invariants=(
            Invariant(
                name="accepted",
                label="パイプがあふれるまでに受け付けた注文",
                observe=accepted,
                expected=FITS,
                why="4096 バイトのパイプに入る間は、読む人がいなくても気づきません。",
            ),
            Invariant(
                name="unanswered",
                label="その後で答えが返らなかった注文",
                observe=unanswered,
                expected=CLIENTS,
                why="ログを 1 行書き終わるまで、リクエストは先へ進めません。",
            ),
        ),
    ),
)
