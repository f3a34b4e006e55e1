"""為替サービスが元気なとき、黙り込んだとき、戻ったあとに、商品の値段を尋ねます。"""

import asyncio
import dataclasses
import math

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Beside, Experiment, Invariant
from workerlab.trace import Exchange, Trace

# --8<-- [start:traffic]
UNKNOWN, FINE = 60, 40
PEOPLE, WAVES = 8, 12
BACK, TRIES = 40, 16


async def traffic(cluster: Cluster) -> None:
    await switch(cluster, "fine")
    await ask(cluster, "fine", UNKNOWN, currency="XYZ")  # 扱っていない通貨。答えは 404
    await ask(cluster, "fine", FINE)
    await switch(cluster, "hang")  # ここから、つながるのに答えない
    await outage(cluster)
    await switch(cluster, "fine")  # 戻った。アプリには何もしない
    await wait_until_back(cluster)


async def outage(cluster: Cluster) -> None:
    """8 人が、いっせいに 12 回ずつ開く。失敗を見た人は、立ち去る。"""
    people = PEOPLE
    await read_calls(cluster)
    for _ in range(WAVES):
        answers = await ask(cluster, "outage", people, at_once=people)
        await read_calls(cluster)
        people = sum(answer.ok for answer in answers)
        if not people:
            break


async def wait_until_back(cluster: Cluster) -> None:
    """40 件がすべて新しい相場になるまで、間を空けて 16 回まで尋ねる。"""
    for _ in range(TRIES):
        answers = await ask(cluster, "back", BACK)
        fresh = sum(is_fresh(answer) for answer in answers)
        if fresh == BACK:
            break
        await asyncio.sleep(0.5)
    note(cluster, "fresh", fresh)


# --8<-- [end:traffic]
MOST = 0.75
"""相手が元気でも、混んだマシンでは 1 秒を超えることがある。4 分の 1 までは許す。"""


LOOKS = 6


async def ask(
    cluster: Cluster, step: str, count: int, *, currency: str = "USD", at_once: int = 4
) -> list[Exchange]:
    return await burst(
        cluster,
        count,
        "GET",
        f"/prices/{currency}",
        step=step,
        concurrency=at_once,
        timeout=60,
    )


async def switch(cluster: Cluster, mode: str) -> None:
    await cluster.request("PUT", f"/rates/{mode}", step="switch", timeout=60)


async def read_calls(cluster: Cluster) -> None:
    """調子を変えてから為替サービスに届いたリクエストを数える。どのワーカーの答えも、記録に残るように。"""
    counted = await burst(
        cluster, LOOKS, "GET", "/rates", step="calls", value="calls", timeout=60
    )
    note(cluster, "calls", max(answer.body["calls"] for answer in counted))


def note(cluster: Cluster, name: str, value: float) -> None:
    cluster.trace.note("measured", detail=name, value=value)


def last(trace: Trace, name: str) -> float:
    return (trace.measured(name) or [math.nan])[-1]


def is_fresh(answer: Exchange) -> bool:
    return answer.ok and answer.body["stale"] is False


def status(trace: Trace, step: str, code: int) -> int:
    return sum(e.status == code for e in trace.step(step))


RATES = Beside(
    name="rates",
    command=("examples.fallback.rates",),
    ready="Uvicorn running on unix socket",
)
EXPERIMENT = Experiment(
    topic="fallback",
    title="フォールバックとサーキットブレーカー",
    traffic=traffic,
    requests=3 + UNKNOWN + FINE + LOOKS + (PEOPLE + LOOKS) * WAVES + BACK,
    pictured="calls",
    needs=frozenset({"files"}),
    beside=(RATES,),
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="unknown",
            label="扱っていない通貨に、404 と答えた件数",
            observe=lambda trace: status(trace, "fine", 404),
            expected=MOST * UNKNOWN,
            relation=">=",
            why="404 は、相手が元気な証拠です。混んだときの時間切れは、4 分の 1 まで許します。",
        ),
        Invariant(
            name="answered",
            label="相手が黙る間に、200 で答えた件数",
            observe=lambda trace: status(trace, "outage", 200),
            expected=PEOPLE * WAVES,
            why="8 人が 12 回ずつ、前の相場で値段を見られます。",
        ),
        Invariant(
            name="calls",
            label="黙る相手に届いたリクエスト",
            observe=lambda trace: last(trace, "calls"),
            expected=PEOPLE * WAVES / 2,
            relation="<=",
            why="4 ワーカーが 3 回ずつ失敗すれば、もう待ちに行きません。",
        ),
        Invariant(
            name="recovered",
            label="戻ったあと、新しい相場で答えた件数",
            observe=lambda trace: last(trace, "fresh"),
            expected=BACK,
            why="起動し直さなくても、全ワーカーが自分で元に戻ります。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
COLD = 20


async def lose_a_worker(cluster: Cluster) -> None:
    """為替サービスが落ちている間に、ワーカーも 1 つ死ぬ。代わりは、相場を一度も見ていない。"""
    before = await cluster.workers()
    await ask(cluster, "fine", FINE)
    await cluster.stop_service("rates")  # 黙るのではなく、接続を断られる
    await ask(cluster, "down", FINE)
    await cluster.kill(before[0])
    await wait_for_newcomer(cluster, before)
    for _ in range(TRIES):
        answers = await ask(cluster, "cold", COLD)
        if {answer.worker for answer in answers} - set(before):
            break  # 代わりのワーカーが答えた
    note_cold(cluster, before)
    await cluster.start_service("rates")
    await wait_until_back(cluster)


async def outlive_the_rates(cluster: Cluster) -> None:
    """為替サービスが 503 を返し続け、前の相場が 4 秒より古くなる。"""
    await ask(cluster, "fine", FINE)
    await switch(cluster, "error")
    for _ in range(TRIES):
        answers = await ask(cluster, "old", COLD)
        refused = sum(is_refused(answer) for answer in answers)
        if refused == COLD:
            break
        await asyncio.sleep(0.5)
    note(cluster, "refused", refused)
    await switch(cluster, "fine")
    await wait_until_back(cluster)


# --8<-- [end:drill]
PATIENCE = 120
"""秒。代わりのワーカーの起動を待つ上限。混んだマシンでも足りるように長く。"""


async def wait_for_newcomer(cluster: Cluster, before: list[int]) -> None:
    until = cluster.trace.now() + PATIENCE
    while set(await cluster.workers()) <= set(before) and cluster.trace.now() < until:
        await asyncio.sleep(0.05)


def is_refused(answer: Exchange) -> bool:
    return answer.status == 503 and "retry-after" in answer.headers


def note_cold(cluster: Cluster, before: list[int]) -> None:
    """代わりのワーカーの答えのうち、503 のものと、そうでないものを数える。"""
    newcomer = [e for e in cluster.trace.step("cold") if e.worker not in (None, *before)]
    refused = sum(map(is_refused, newcomer))
    note(cluster, "cold_refused", refused)
    note(cluster, "cold_other", len(newcomer) - refused)


RECOVERED = EXPERIMENT.invariants[-1]
DRILLS = (
    dataclasses.replace(
        EXPERIMENT,
        drill="cold_worker",
        title="相手が落ちている間に、ワーカーが入れ替わる",
        traffic=lose_a_worker,
        requests=2 * FINE + COLD + BACK,
        pictured="",
        may_lose_requests=True,  # ワーカーを止めた瞬間の接続
        invariants=(
            Invariant(
                name="down",
                label="落ちた相手の代わりに、200 で答えた件数",
                observe=lambda trace: status(trace, "down", 200),
                expected=FINE,
                why="4 つのワーカーは、起動したときの相場を持っています。",
            ),
            Invariant(
                name="cold_refused",
                label="代わりのワーカーが、503 と Retry-After で断った件数",
                observe=lambda trace: last(trace, "cold_refused"),
                expected=1,
                relation=">=",
                why="前の相場は、死んだワーカーと一緒に消えました。",
            ),
            Invariant(
                name="cold_other",
                label="代わりのワーカーの、それ以外の答え",
                observe=lambda trace: last(trace, "cold_other"),
                expected=0,
                why="500 でも、でたらめな値段でもありません。",
            ),
            RECOVERED,
        ),
    ),
    dataclasses.replace(
        EXPERIMENT,
        drill="too_old",
        title="前の相場が古くなりすぎる",
        traffic=outlive_the_rates,
        requests=2 + FINE + COLD + BACK,
        pictured="",
        environment={"MAX_STALE_SECONDS": "4"},
        invariants=(
            Invariant(
                name="refused",
                label="相場が古くなったあと、503 と Retry-After で断った件数",
                observe=lambda trace: last(trace, "refused"),
                expected=COLD,
                why="古すぎる相場で売るより、断ります。",
            ),
            Invariant(
                name="errors",
                label="500 で答えた件数",
                observe=lambda trace: status(trace, "old", 500),
                expected=0,
                why="断り方は、決めてあります。",
            ),
            RECOVERED,
        ),
    ),
)
