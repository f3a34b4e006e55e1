"""全ワーカーにモデルを使わせ、くじを引かせ、ワーカーごとのメモリを足します。"""

import asyncio
import math

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

AT_ONCE = 16
MEMORY_LIMIT = 400  # MB。このコンテナに使わせてよい量
RECOMMENDATION = "/users/1/recommendation"


# --8<-- [start:traffic]
async def traffic(cluster: Cluster) -> None:
    await ask_everyone(cluster, "GET", RECOMMENDATION, step="recommend")
    await ask_everyone(cluster, "POST", "/lottery", step="draw", value="number")
    for kind in ("rss", "pss"):
        await ask_everyone(cluster, "GET", f"/memory/{kind}", step=kind, value="mb")


async def ask_everyone(
    cluster: Cluster, method: str, path: str, *, step: str, value: str | None = None
) -> None:
    """いまいるワーカーの全員が答えるか、いなくなるまで、16 件ずつ新しい接続で送る。"""
    asked = set(await cluster.workers())
    until = cluster.trace.now() + PATIENCE
    while waiting(asked & set(await cluster.workers()), cluster.trace, step):
        await burst(cluster, AT_ONCE, method, path, step=step, value=value, timeout=PATIENCE)
        if cluster.trace.now() > until:
            break


# --8<-- [end:traffic]
PATIENCE = 120
"""秒。全員が答えるのを待つ上限。混んだマシンでも足りるように長く。"""


def waiting(workers: list[int], trace: Trace, step: str) -> set[int]:
    """まだ答えていないワーカー。"""
    return set(workers) - {e.worker for e in trace.step(step) if e.worker is not None}


def total(trace: Trace, kind: str) -> float:
    """ワーカーごとに最後の値を取り、足す。答えていないワーカーがいれば、数にしない。"""
    last = {e.worker: e.value for e in trace.step(kind) if e.ok and e.value is not None}
    if not last or set(trace.workers) - last.keys():
        return math.nan
    return sum(last.values())


def duplicates(trace: Trace) -> float:
    """前に出た番号と同じ番号が出た回数。"""
    numbers = [e.value for e in trace.step("draw") if e.value is not None]
    return len(numbers) - len(set(numbers)) if numbers else math.nan


MEMORY = Invariant(
    name="memory",
    label="全ワーカーの PSS の合計（MB）",
    observe=lambda trace: total(trace, "pss"),
    relation="<=",
    expected=MEMORY_LIMIT,
    why="モデルが 1 つなら、4 ワーカーでも収まります。",
)
DUPLICATES = Invariant(
    name="duplicates",
    label="前と同じ番号が出たくじ",
    observe=duplicates,
    expected=0,
    why="だれが引いても、同じ番号は 2 度と出ません。",
)
EXPERIMENT = Experiment(
    topic="memory_per_worker",
    title="ワーカーの数だけ要るメモリ",
    traffic=traffic,
    requests=4 * AT_ONCE,
    needs=frozenset({"files"}),
    # --8<-- [start:invariants]
    invariants=(MEMORY, DUPLICATES),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
async def overwrite_the_file(cluster: Cluster) -> None:
    """使っているモデルのファイルに、小さくなった新しいモデルを上書きする。"""
    before = await cluster.workers()
    await ask_everyone(cluster, "GET", RECOMMENDATION, step="recommend")
    await cluster.request("PUT", "/model/overwrite", step="publish", timeout=PATIENCE)
    await ask_everyone(cluster, "GET", RECOMMENDATION, step="after", value="version")
    note(cluster, "survivors", len(set(before) & set(await cluster.workers())))
    await wait_for_workers(cluster, len(before))


async def replace_the_file(cluster: Cluster) -> None:
    """名前を付け替えて新しいモデルを配り、1 つのワーカーが死に、最後に全員を起動し直す。"""
    before = await cluster.workers()
    await ask_everyone(cluster, "GET", RECOMMENDATION, step="recommend")
    await cluster.request("PUT", "/model/replace", step="publish", timeout=PATIENCE)
    await cluster.kill(before[0])
    while before[0] in await cluster.workers():
        await asyncio.sleep(0.01)
    await wait_for_workers(cluster, len(before))
    await ask_everyone(cluster, "GET", RECOMMENDATION, step="mixed", value="version")
    await cluster.restart()
    await ask_everyone(cluster, "GET", RECOMMENDATION, step="restarted", value="version")


# --8<-- [end:drill]
async def wait_for_workers(cluster: Cluster, count: int) -> None:
    """代わりのワーカーがそろうまで待つ。"""
    until = cluster.trace.now() + PATIENCE
    while len(await cluster.workers()) < count and cluster.trace.now() < until:
        await asyncio.sleep(0.05)
    note(cluster, "missing", count - len(await cluster.workers()))


def note(cluster: Cluster, name: str, value: float) -> None:
    cluster.trace.note("measured", detail=name, value=value)


def noted(trace: Trace, name: str) -> float:
    return (trace.measured(name) or [math.nan])[-1]


def versions(trace: Trace, step: str) -> float:
    return len({e.value for e in trace.step(step) if e.value is not None})


MISSING = Invariant(
    name="missing",
    label="起動し直されたあとに欠けているワーカー",
    observe=lambda trace: noted(trace, "missing"),
    expected=0,
    why="親が、死んだワーカーの代わりを起動します。",
)
DRILLS = (
    Experiment(
        topic="memory_per_worker",
        drill="preload",
        title="gunicorn --preload で動かす",
        traffic=traffic,
        requests=4 * AT_ONCE,
        needs=frozenset({"files"}),
        servers=frozenset({"gunicorn-asgi", "gunicorn-uvicorn"}),
        options=("--preload",),
        invariants=(MEMORY, DUPLICATES),
    ),
    Experiment(
        topic="memory_per_worker",
        drill="overwritten",
        title="使っているモデルのファイルが上書きされる",
        traffic=overwrite_the_file,
        requests=1 + 2 * AT_ONCE,
        needs=frozenset({"files"}),
        may_lose_requests=True,  # 落ちたワーカーの処理していたリクエストには、答えがない
        invariants=(
            Invariant(
                name="survivors",
                label="落ちずに残った元のワーカー",
                observe=lambda trace: noted(trace, "survivors"),
                expected=0,
                why="開いたファイルが短くなり、もうない部分を読んだワーカーは落ちます。",
            ),
            Invariant(
                name="lost",
                label="答えのなかったリクエスト",
                observe=lambda trace: sum(e.status is None for e in trace.step("after")),
                relation=">=",
                expected=1,
                why="落ちたワーカーが処理していた分です。",
            ),
            MISSING,
        ),
    ),
    Experiment(
        topic="memory_per_worker",
        drill="replaced",
        title="モデルのファイルが付け替えられ、1 つのワーカーだけが起動し直される",
        traffic=replace_the_file,
        requests=1 + 3 * AT_ONCE,
        needs=frozenset({"files"}),
        invariants=(
            Invariant(
                name="mixed",
                label="1 つだけ起動し直したあとに、使われているモデルの版の数",
                observe=lambda trace: versions(trace, "mixed"),
                expected=2,
                why="開いたままのワーカーは、古いファイルを見続けます。",
            ),
            Invariant(
                name="restarted",
                label="全員を起動し直したあとに、使われているモデルの版の数",
                observe=lambda trace: versions(trace, "restarted"),
                expected=1,
                why="起動するときに、新しいファイルを開きます。",
            ),
            MISSING,
        ),
    ),
)
