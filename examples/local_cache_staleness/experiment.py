"""価格を 2 回変えます。1 回目はアプリが変え、2 回目はほかの部署が黙って変えます。"""

import asyncio
import math

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
READERS = 40
FIRST, SECOND, THIRD = 100, 200, 300  # 円
GRACE = 0.5  # 秒。知らせが全ワーカーに届くまで待つ。good.py の期限 2 秒より十分に短い
TTL = 2.5  # 秒。good.py の期限 2 秒が、必ず過ぎるまで待つ


async def traffic(cluster: Cluster) -> None:
    await cluster.request("PUT", "/price", step="update", json={"price": FIRST})
    await read(cluster, "before")
    await cluster.request("PUT", "/price", step="update", json={"price": SECOND})
    await asyncio.sleep(GRACE)
    await read(cluster, "told")
    await cluster.request("POST", "/import", step="update", json={"price": THIRD})
    await asyncio.sleep(TTL)
    await read(cluster, "late")


async def read(cluster: Cluster, step: str) -> None:
    await burst(cluster, READERS, "GET", "/price", step=step, value="price")


# --8<-- [end:traffic]
def answered(trace: Trace) -> float:
    return sum(exchange.ok for exchange in trace.exchanges)


def stale(trace: Trace, step: str, price: int) -> float:
    return sum(exchange.value != price for exchange in trace.step(step))


def lowest(trace: Trace, step: str) -> float:
    return min((e.value for e in trace.step(step) if e.value is not None), default=math.nan)


EXPERIMENT = Experiment(
    topic="local_cache_staleness",
    title="手元のキャッシュの古さ",
    traffic=traffic,
    requests=3 * READERS + 3,
    pictured="lowest",
    needs=frozenset({"redis"}),
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="answered",
            label="200 で答えたリクエスト",
            observe=answered,
            expected=3 * READERS + 3,
            why="送った 123 件が、すべて受け付けられたことを確かめます。",
        ),
        Invariant(
            name="told",
            label="知らせた変更のあとに古い価格を返した件数",
            observe=lambda trace: stale(trace, "told", SECOND),
            expected=0,
            why="アプリが変えた価格は、知らせが届いたワーカーから新しくなります。",
        ),
        Invariant(
            name="late",
            label="知らせのない変更から期限が過ぎたあとに古い価格を返した件数",
            observe=lambda trace: stale(trace, "late", THIRD),
            expected=0,
            why="知らせが来なくても、手元の価格は期限の 2 秒より古くなりません。",
        ),
        Invariant(
            name="lowest",
            label="最後の 40 件で返したいちばん安い価格",
            observe=lambda trace: lowest(trace, "late"),
            expected=THIRD,
            why="どちらの変更も済んだあとは、どのワーカーも 300 円と答えます。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
async def miss_the_message(cluster: Cluster) -> None:
    await cluster.request("PUT", "/price", step="update", json={"price": FIRST})
    await read(cluster, "before")
    await cluster.stop_service("redis")  # 全ワーカーの購読が切れる
    await cluster.start_service("redis")
    await cluster.request("PUT", "/price", step="update", json={"price": SECOND})
    await asyncio.sleep(TTL)  # この間に購読もやり直される
    await read(cluster, "missed")
    await cluster.request("PUT", "/price", step="update", json={"price": THIRD})
    await asyncio.sleep(GRACE)
    await read(cluster, "told")


# --8<-- [end:drill]
DRILLS = (
    Experiment(
        topic="local_cache_staleness",
        drill="missed_message",
        title="Redis が再起動した直後に価格が変わる",
        traffic=miss_the_message,
        requests=3 * READERS + 3,
        needs=frozenset({"redis"}),
        invariants=(
            Invariant(
                name="answered",
                label="200 で答えたリクエスト",
                observe=answered,
                expected=3 * READERS + 3,
                why="Redis が再起動しても、切れた接続はつなぎ直されます。",
            ),
            Invariant(
                name="missed",
                label="期限が過ぎたあとに古い価格を返した件数",
                observe=lambda trace: stale(trace, "missed", SECOND),
                expected=0,
                why="知らせが届かなかったワーカーも、期限の 2 秒が過ぎれば新しくなります。",
            ),
            Invariant(
                name="told",
                label="購読し直したあとの変更で、古い価格を返した件数",
                observe=lambda trace: stale(trace, "told", THIRD),
                expected=0,
                why="購読をやり直すので、次の変更からは知らせがまた届きます。",
            ),
        ),
    ),
)
