"""カタログを書き直しながら読み、書いている途中のワーカーを kill -9 で止めます。"""

import asyncio

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
WRITERS = 3
READERS = 24
AFTER = 12


async def traffic(cluster: Cluster) -> None:
    await cluster.request("POST", "/catalog/1", step="write")
    await read_while_writing(cluster)
    await kill_the_writer(cluster)
    await burst(cluster, AFTER, "GET", "/catalog", step="after")
    await replacement(cluster)


async def read_while_writing(cluster: Cluster) -> None:
    """3 人が同時に書き、半分ほど進んだところで 24 回読む。"""
    full = await size(cluster)
    writers = burst(cluster, WRITERS, "POST", "/catalog/2", step="write")
    writing = asyncio.create_task(writers)
    await wait_for_half(cluster, full)
    await burst(cluster, READERS, "GET", "/catalog", step="during", concurrency=4)
    await writing


async def kill_the_writer(cluster: Cluster) -> None:
    """1 つのワーカーだけに書かせ、半分ほど進んだところで止める。"""
    full = await size(cluster)
    writer, *others = await cluster.workers()
    for other in others:
        await cluster.pause(other)
    request = cluster.request("POST", "/catalog/3", step="killed")
    writing = asyncio.create_task(request)
    await wait_for_half(cluster, full)
    await cluster.kill(writer)
    for other in others:
        await cluster.resume(other)
    await writing


# --8<-- [end:traffic]
async def size(cluster: Cluster) -> float | None:
    """カタログの大きさ。"""
    look = await cluster.request("GET", "/files", step="look")
    return look.body["smallest"] if look.ok else None


async def wait_for_half(cluster: Cluster, full: float | None) -> None:
    """書きかけのファイルが、半分の大きさになるまで待つ。時間の見込みには頼らない。"""
    await cluster.request("GET", f"/files?full={full}", step="look")


async def replacement(cluster: Cluster) -> None:
    """代わりのワーカーを待つ。gunicorn 27 の asgi は、起動中に止めると終わるのが遅い。"""
    for _ in range(200):
        if len(await cluster.workers()) >= len(cluster.trace.workers):
            return
        await asyncio.sleep(0.05)


def accepted(trace: Trace) -> float:
    return sum(exchange.ok for exchange in trace.step("write"))


def unanswered(trace: Trace) -> float:
    return sum(exchange.status is None for exchange in trace.step("killed"))


def read_after(trace: Trace) -> float:
    return sum(exchange.ok for exchange in trace.step("after"))


def failed_reads(trace: Trace) -> float:
    return sum(not exchange.ok for exchange in trace.step("during"))


READ_AFTER = Invariant(
    name="read_after",
    label="kill -9 の後に読めた回数",
    observe=read_after,
    expected=AFTER,
    why="書きかけで死んでも、前の版がそのまま残っています。",
)

EXPERIMENT = Experiment(
    topic="file_replace",
    title="ファイルの書き直し",
    traffic=traffic,
    requests=2 + WRITERS + READERS + 4 + AFTER,
    needs=frozenset({"files"}),
    may_lose_requests=True,  # 書いている途中で止められたリクエストには、答えが返らない
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="accepted",
            label="受け付けた書き直し",
            observe=accepted,
            expected=1 + WRITERS,
            why="最初の 1 回と、同時に行う 3 回が、どれも書き終わります。",
        ),
        READ_AFTER,
        Invariant(
            name="failed_reads",
            label="書き直しの間に失敗した読み取り",
            observe=failed_reads,
            expected=0,
            why="読む人には、前の版か新しい版のどちらかが必ず見えます。",
        ),
        Invariant(
            name="unanswered",
            label="kill -9 で答えが返らなかった書き直し",
            observe=unanswered,
            expected=1,
            why="書いている途中で止めたことを確かめます。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
async def count_leftovers(cluster: Cluster) -> None:
    await cluster.request("POST", "/catalog/1", step="write")
    await kill_the_writer(cluster)
    await burst(cluster, AFTER, "GET", "/catalog", step="after")
    await cluster.request("GET", "/files", step="files", value="files")
    await replacement(cluster)


# --8<-- [end:drill]
def leftovers(trace: Trace) -> float:
    return (trace.step("files")[-1].value or 0) - 1


DRILLS = (
    Experiment(
        topic="file_replace",
        drill="leftover",
        title="書きかけの一時ファイルが残る",
        traffic=count_leftovers,
        requests=2 + 2 + AFTER + 1,
        needs=frozenset({"files"}),
        may_lose_requests=True,
        invariants=(
            READ_AFTER,
            Invariant(
                name="leftovers",
                label="残った一時ファイル",
                observe=leftovers,
                expected=1,
                why="後始末をするはずのプロセスが死に、だれも消しません。",
            ),
        ),
    ),
)
