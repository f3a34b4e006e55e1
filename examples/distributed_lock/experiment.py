"""倉庫の在庫が 50 個から 5 個に減る間に、古い数を持った人が、あとから書きます。"""

import asyncio
import math

from workerlab.cluster import Cluster, burst
from workerlab.errors import TrafficError
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Exchange, Trace

# --8<-- [start:traffic]
BEFORE, AFTER = 50, 5  # 倉庫の在庫数
READERS = 16


async def traffic(cluster: Cluster) -> None:
    await slow_answer(cluster)
    await paused_holder(cluster)


async def slow_answer(cluster: Cluster) -> None:
    """倉庫の答えが、ロックの期限を過ぎてから届く。"""
    holder, _ = await start_holder(cluster, halt="ask")
    await set_warehouse(cluster, AFTER)
    newer = await sync(cluster, step="newer")  # ロックの期限が切れるのを待って入る
    await read(cluster, step="meanwhile")
    await remove_halt(cluster, "ask")
    await holder
    if not newer.ok:  # 期限が切れず、入れなかった。持ち主が終わってから写す
        await sync_until_written(cluster, step="newer")
    await read(cluster, step="after_slow")


async def paused_holder(cluster: Cluster) -> None:
    """書く直前のワーカーが SIGSTOP で凍り、ほかの人が写し終えてから動き出す。"""
    holder, worker = await start_holder(cluster, halt="write")
    await cluster.pause(worker)
    await remove_halt(cluster, "write")
    await set_warehouse(cluster, AFTER)
    await sync_until_written(cluster, step="newer")
    await read(cluster, step="meanwhile")
    await cluster.resume(worker)
    await holder
    await read(cluster, step="after_pause")


async def start_holder(cluster: Cluster, *, halt: str) -> tuple[asyncio.Task[Exchange], int]:
    """在庫が 50 個のときに写し始め、halt に着いた人と、そのワーカー。"""
    await set_warehouse(cluster, BEFORE)
    await cluster.request("PUT", f"/halts/{halt}", step="stage")
    holder = asyncio.create_task(sync(cluster, step="holder"))
    halted = await cluster.request("GET", f"/halts/{halt}", step="stage", timeout=60)
    return holder, pid(halted)


# --8<-- [end:traffic]
PATIENCE = 60.0
"""秒。ほかの人がロックに入れるまで、実験が待つ長さ。判定には使わない。"""


async def sync(cluster: Cluster, *, step: str) -> Exchange:
    return await cluster.request(
        "POST", "/sync", step=step, value="quantity", timeout=2 * PATIENCE
    )


async def sync_until_written(cluster: Cluster, *, step: str) -> None:
    until = cluster.trace.now() + PATIENCE
    while not (await sync(cluster, step=step)).ok:
        if cluster.trace.now() > until:
            raise TrafficError(f"{PATIENCE:g} 秒待っても、POST /sync が成功しませんでした。")
        await asyncio.sleep(0.1)


async def set_warehouse(cluster: Cluster, quantity: int) -> None:
    await cluster.request("PUT", f"/warehouse/{quantity}", step="stage")


async def remove_halt(cluster: Cluster, place: str) -> None:
    await cluster.request("DELETE", f"/halts/{place}", step="stage")


async def read(cluster: Cluster, *, step: str) -> None:
    await burst(cluster, READERS, "GET", "/stock", step=step, value="quantity")


def pid(halted: Exchange) -> int:
    if not (halted.ok and halted.body["halted"]):
        raise TrafficError("止めたワーカーが分かりません。GET /halts を確かめてください。")
    return int(halted.body["halted"])


def read_quantity(trace: Trace, step: str) -> float:
    """読んだ在庫数のうち、倉庫から最も遠いもの。"""
    seen = [e.value for e in trace.step(step) if e.value is not None]
    return max(seen, key=lambda value: abs(value - AFTER), default=math.nan)


def written(trace: Trace) -> float:
    return sum(exchange.ok for exchange in trace.step("newer"))


EXPERIMENT = Experiment(
    topic="distributed_lock",
    title="期限つきの分散ロック",
    traffic=traffic,
    requests=2 * 6 + 4 * READERS,
    pictured="paused",
    needs=frozenset({"files", "redis"}),
    # uvicorn の親は、既定では 5 秒答えないワーカーを止めて起動し直す
    environment={"UVICORN_TIMEOUT_WORKER_HEALTHCHECK": "120"},
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="written",
            label="新しい在庫数を書けた人",
            observe=written,
            expected=2,
            why="持ち主が遅れても止まっても、次の人は写し終えられます。",
        ),
        Invariant(
            name="slow",
            label="倉庫の答えが遅れたあとの在庫数",
            observe=lambda trace: read_quantity(trace, "after_slow"),
            expected=AFTER,
            why="あとから届いた古い数が、新しい数を上書きしません。",
        ),
        Invariant(
            name="paused",
            label="止まった持ち主が動き出したあとの在庫数",
            observe=lambda trace: read_quantity(trace, "after_pause"),
            expected=AFTER,
            why="持ち主がどこで、どれだけ長く止まっても、結果は同じです。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
async def redis_restart(cluster: Cluster) -> None:
    """1 人が書く直前で待つ間に、Redis が止まり、空になって戻る。"""
    await set_warehouse(cluster, -1)  # 倉庫が答えないので、この人は番号だけを取って終わる
    await sync(cluster, step="failed")
    holder, _ = await start_holder(cluster, halt="write")
    await cluster.stop_service("redis")
    await sync(cluster, step="down")
    await cluster.start_service("redis")
    await set_warehouse(cluster, AFTER)
    await sync_until_written(cluster, step="newer")  # ロックも消えたので、待たずに入る
    await remove_halt(cluster, "write")
    await holder
    await read(cluster, step="after_restart")


# --8<-- [end:drill]
DRILLS = (
    Experiment(
        topic="distributed_lock",
        drill="redis_restart",
        title="Redis が空になって戻る",
        traffic=redis_restart,
        requests=10 + READERS,
        needs=frozenset({"files", "redis"}),
        environment=EXPERIMENT.environment,
        invariants=(
            Invariant(
                name="down",
                label="Redis が止まっている間に書けた人",
                observe=lambda trace: sum(e.ok for e in trace.step("down")),
                expected=0,
                why="ロックを取れないときは、写さずに断ります。",
            ),
            Invariant(
                name="refused",
                label="在庫表に断られた書き込み",
                observe=lambda trace: sum(e.status == 409 for e in trace.exchanges),
                expected=1,
                why="ロックが消えて 2 人が同時に写し、古い 1 人の仕事が無駄になりました。",
            ),
            Invariant(
                name="restarted",
                label="古い持ち主が書こうとしたあとの在庫数",
                observe=lambda trace: read_quantity(trace, "after_restart"),
                expected=AFTER,
                why="番号は在庫表にあるので、Redis が空になっても後戻りしません。",
            ),
        ),
    ),
)
