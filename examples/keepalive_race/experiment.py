"""ワーカーが閉じたばかりの接続で、nginx が注文を送ります。断られた注文を数えます。"""

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

from workerlab.cluster import Cluster, Requester, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Exchange, Trace

CUSTOMERS = 8
ENOUGH, TRIES = 4, 5
PATIENCE = 300
"""秒。1 件の注文の上限。nginx を止めている時間や、サーバーの起動し直しを含む。"""


# --8<-- [start:traffic]
async def traffic(cluster: Cluster) -> None:
    numbers = itertools.count(1)
    async with customers(cluster) as people:
        await order_while_closing(cluster, people, numbers)
        for _ in range(TRIES):
            if await kill_after_saving(cluster, people[0], next(numbers)):
                break
    await look(cluster)


async def order_while_closing(
    cluster: Cluster, people: list[Requester], numbers: Iterator[int]
) -> None:
    """注文が nginx に届き、それからワーカーが接続を閉じる。この順を、nginx を止めて作る。"""
    for _ in range(TRIES):
        await order_all(people, numbers)  # nginx とワーカーの間に、接続ができる
        await cluster.pause_service("nginx")
        async with asyncio.TaskGroup() as group:
            group.create_task(order_all(people, numbers))
            open_in_time = await connections(cluster)
            await until_closed(cluster)
            await cluster.resume_service("nginx")
        if open_in_time >= ENOUGH:  # 混んだマシンで、注文より先に閉じていたら、やり直す
            return


async def order_all(people: list[Requester], numbers: Iterator[int]) -> None:
    """全員が、いっせいに 1 件ずつ注文する。"""
    async with asyncio.TaskGroup() as group:
        for person in people:
            group.create_task(order(person, next(numbers)))


async def until_closed(cluster: Cluster) -> None:
    """ワーカーが接続を閉じ終えるまで待つ。閉じなければ、8 秒あまりで先へ進む。"""
    for _ in range(80):
        if not await connections(cluster):
            return
        await asyncio.sleep(0.1)


# --8<-- [end:traffic]
async def connections(cluster: Cluster) -> float:
    """ワーカーがまだ閉じていない、nginx との接続の数。"""
    return await cluster.measure("nginx", "kept")


async def order(person: Requester, number: int, step: str = "order", **more: float) -> Exchange:
    return await person.request(
        "POST", "/orders", step=step, json={"number": number, **more}, timeout=PATIENCE
    )


@asynccontextmanager
async def customers(cluster: Cluster) -> AsyncIterator[list[Requester]]:
    """nginx との接続を開いたままにする人たち。ブラウザーもそうする。"""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(cluster.kept_connection()) for _ in range(CUSTOMERS)
        ]


# --8<-- [start:kill]
MAIL_SECONDS = 5


async def kill_after_saving(cluster: Cluster, person: Requester, number: int) -> bool:
    """注文を保存し、確認メールを送っている最中のワーカーを止める。間に合えば真。"""
    sent = asyncio.create_task(order(person, number, "killed", mail_seconds=MAIL_SECONDS))
    worker = 0
    while not worker and not sent.done():
        answer = await cluster.request("GET", f"/orders/{number}", step="find", timeout=60)
        worker = answer.body["saved_by"] if answer.ok else 0
    if in_time := not sent.done():
        await cluster.kill(worker)
    await sent
    return in_time


# --8<-- [end:kill]
LOOKS = 24
"""いっせいに尋ねる件数。nginx が接続を足すので、どのワーカーも答える。"""


async def look(cluster: Cluster) -> None:
    """保存された注文を尋ね、nginx の error.log を読む。"""
    answers = await burst(
        cluster,
        LOOKS,
        "GET",
        "/orders",
        step="look",
        concurrency=LOOKS,
        value="orders",
        timeout=60,
    )
    doubled = max((e.body["doubled"] for e in answers if e.ok), default=math.nan)
    cluster.trace.note("measured", detail="doubled", value=doubled)
    await cluster.read_log("nginx")


def failed(trace: Trace) -> float:
    """502 か、答えのない注文。"""
    return sum(not exchange.ok for exchange in trace.step("order"))


def saved(trace: Trace) -> float:
    seen = [e.value for e in trace.step("look") if e.value is not None]
    return max(seen, default=math.nan)


def lost(trace: Trace) -> float:
    return len(trace.step("order")) + len(trace.step("killed")) - saved(trace)


def doubled(trace: Trace) -> float:
    return (trace.measured("doubled") or [math.nan])[-1]


def logged(trace: Trace) -> list[str]:
    """nginx の error.log の行。"""
    return [event.detail for event in trace.events if event.kind == "logged"]


EXPERIMENT = Experiment(
    topic="keepalive_race",
    title="プロキシより先に切れる接続",
    traffic=traffic,
    requests=2 * CUSTOMERS + 2 + LOOKS,
    needs=frozenset({"files", "nginx"}),
    may_lose_requests=True,  # 利用者との接続が切れるなら、それも断られた注文に数える
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="failed",
            label="断られた注文",
            observe=failed,
            expected=0,
            why="注文を送る間、ワーカーは 4 つとも動いています。",
        ),
        Invariant(
            name="lost",
            label="保存されていない注文",
            observe=lost,
            expected=0,
            why="送った注文は、どれも保存されます。",
        ),
        Invariant(
            name="doubled",
            label="2 回保存された注文",
            observe=doubled,
            expected=0,
            why="保存したあとにワーカーが死んでも、同じ注文を送り直しません。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
async def deploy(cluster: Cluster) -> None:
    """注文が nginx に届き、それからサーバーを起動し直す。"""
    numbers = itertools.count(1)
    async with customers(cluster) as people:
        await order_all(people, numbers)
        await cluster.pause_service("nginx")
        async with asyncio.TaskGroup() as group:
            group.create_task(order_all(people, numbers))
            await connections(cluster)
            group.create_task(cluster.restart())
            while await connections(cluster):
                await asyncio.sleep(0.1)
            await cluster.resume_service("nginx")
    await look(cluster)


# --8<-- [end:drill]
DRILLS = (
    Experiment(
        topic="keepalive_race",
        drill="deploy",
        title="サーバーを起動し直す",
        traffic=deploy,
        requests=2 * CUSTOMERS + LOOKS,
        needs=frozenset({"files", "nginx"}),
        may_lose_requests=True,
        invariants=(
            Invariant(
                name="failed",
                label="断られた注文",
                observe=failed,
                relation=">=",
                expected=1,
                why="サーバーが止まるときも、開いていた接続は閉じられます。",
            ),
            Invariant(
                name="saved_and_refused",
                label="断られたのに、保存されていた注文",
                observe=lambda trace: saved(trace) - sum(e.ok for e in trace.step("order")),
                expected=0,
                why="閉じた接続に届いた注文を、ワーカーは読んでいません。",
            ),
            Invariant(
                name="doubled",
                label="2 回保存された注文",
                observe=doubled,
                expected=0,
                why="nginx は POST を送り直しません。",
            ),
        ),
    ),
)
