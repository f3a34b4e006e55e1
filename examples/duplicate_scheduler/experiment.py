"""5 つの区切りのメールを数え、集計中のワーカーを kill -9 し、次の 5 つを数えます。"""

import asyncio
import dataclasses
import math

from workerlab.cluster import Cluster
from workerlab.errors import TrafficError
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
TICKS = 5
LOOKERS = 6  # 1 つの区切りごとに尋ねる人数
EVERYBODY = 30  # 最後は、どのワーカーにも尋ねる


async def traffic(cluster: Cluster) -> None:
    first = await current_tick(cluster) + 1  # 次の区切りから数える
    await watch(cluster, first, "before")
    owner, tick = await working(cluster)
    await cluster.kill(owner)
    await watch(cluster, tick, "after")  # 死んだワーカーが途中だった区切りから数える


async def watch(cluster: Cluster, first: int, step: str) -> None:
    """区切りを 1 つ過ぎるごとに、届いたメールを数える。最後は、そろうまで待つ。"""
    for passed in range(1, TICKS + 1):
        await look(cluster, first, step, until=first + passed)
    await look(cluster, first, step, until=first + TICKS + 1, whole=1, people=EVERYBODY)


# --8<-- [end:traffic]
REQUESTS = TICKS * LOOKERS + EVERYBODY


async def look(
    cluster: Cluster,
    first: int,
    step: str,
    *,
    until: int,
    whole: int = 0,
    twice: int = 0,
    people: int = LOOKERS,
) -> None:
    """答えの本文は記録に残らないので、判定に使う数を出来事として残す。"""
    plus = sum(cluster.trace.measured("before.mails")[-1:]) if step == "after" else 0
    path = f"/mails?first={first}&count={TICKS}&until={until}&whole={whole}&twice={twice}"
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(
                cluster.request(
                    *("GET", f"{path}&plus={plus:.0f}"), step=step, value="total", timeout=60
                )
            )
            for _ in range(people)
        ]
    seen = [task.result().body for task in asked if task.result().ok]
    for name in ("mails", "ticks", "repeated"):
        most = max((body[name] for body in seen), default=math.nan)
        cluster.trace.note("measured", detail=f"{step}.{name}", value=most)


async def current_tick(cluster: Cluster) -> int:
    return (await ask(cluster, "/tick"))["tick"]


async def working(cluster: Cluster) -> tuple[int, int]:
    """いま集計しているワーカーと、その区切り。"""
    answer = await ask(cluster, "/working")
    return answer["working"], answer["tick"]


async def ask(cluster: Cluster, path: str) -> dict[str, int]:
    answer = await cluster.request("GET", path, step="ask", timeout=60)
    if not (answer.ok and answer.body.get("tick")):
        raise TrafficError(f"GET {path} が区切りを答えません。ルートを確かめてください。")
    return dict(answer.body)


def final(trace: Trace, name: str) -> float:
    return (trace.measured(name) or [math.nan])[-1]


def missing(trace: Trace, *steps: str) -> float:
    return sum(TICKS - final(trace, f"{step}.ticks") for step in steps)


# --8<-- [start:invariants]
TOTAL = Invariant(
    name="total",
    label="10 の区切りに届いたメール",
    observe=lambda trace: final(trace, "before.mails") + final(trace, "after.mails"),
    expected=2 * TICKS,
    why="ワーカーがいくつあっても、区切り 1 つにメールは 1 通です。",
)
AFTER = Invariant(
    name="after",
    label="そのうち、kill -9 のあとの 5 つの区切りの分",
    observe=lambda trace: final(trace, "after.mails"),
    expected=TICKS,
    why="集計していたワーカーが死んでも、別のワーカーが引き継ぎます。",
)
MISSING = Invariant(
    name="missing",
    label="メールの届かなかった区切り",
    observe=lambda trace: missing(trace, "before", "after"),
    expected=0,
    why="死んだワーカーが途中だった区切りも、抜けません。",
)
# --8<-- [end:invariants]
EXPERIMENT = Experiment(
    topic="duplicate_scheduler",
    title="ワーカーの数だけ動く定期実行",
    traffic=traffic,
    requests=2 * REQUESTS + 3,
    pictured="total",
    needs=frozenset({"redis"}),
    invariants=(TOTAL, AFTER, MISSING),
)


# --8<-- [start:drill]
async def pause_the_owner(cluster: Cluster) -> None:
    """集計の途中で持ち主を凍らせ、ほかのワーカーが引き継いでから、続きを動かす。"""
    owner, tick = await working(cluster)
    await cluster.pause(owner)
    while await working(cluster) != (owner, tick):  # 集計が終わったあとだった。やり直す
        await cluster.resume(owner)
        owner, tick = await working(cluster)
        await cluster.pause(owner)
    await look(cluster, tick, "paused", until=tick + TICKS, whole=1)
    await cluster.resume(owner)
    await look(cluster, tick, "resumed", until=tick + TICKS, twice=1)
    settled = await current_tick(cluster) + 2  # 戻ったワーカーが、送るところまで進む
    await look(cluster, tick, "resumed", until=settled)


# --8<-- [end:drill]
DRILLS = (
    dataclasses.replace(
        EXPERIMENT,
        drill="owner_paused",
        title="リースの持ち主が止まり、期限が切れてから戻る",
        traffic=pause_the_owner,
        requests=3 * LOOKERS + 3,
        pictured="",
        environment={"AGGREGATION": "0.4"},  # 集計の途中で止めやすいように、長くする
        servers=frozenset({"uvicorn"}),
        options=("--timeout-worker-healthcheck=60",),  # 止まっていても、起動し直さない
        invariants=(
            Invariant(
                name="paused",
                label="止まっている間に、5 つの区切りに届いたメール",
                observe=lambda trace: final(trace, "paused.mails"),
                expected=TICKS,
                why="期限が切れれば、別のワーカーが引き継ぎます。",
            ),
            Invariant(
                name="repeated",
                label="2 つのワーカーが集計した区切り",
                observe=lambda trace: final(trace, "resumed.repeated"),
                expected=1,
                relation=">=",
                why="戻ったワーカーは、期限が切れたと知らずに続きを行います。",
            ),
            Invariant(
                name="resumed",
                label="戻ったあとに数えた、同じ区切りのメール",
                observe=lambda trace: final(trace, "resumed.mails"),
                expected=TICKS,
                why="区切りの印が先に付いているので、2 通目は送られません。",
            ),
        ),
    ),
)
