"""8 人がチャットにつなぎ、その 1 人が 10 通を送ります。だれに何通届いたかを数えます。"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence

from workerlab.cluster import Cluster, WebSocket
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
NAMES = tuple("ABCDEFGH")
MESSAGES = 10


async def traffic(cluster: Cluster) -> None:
    async with everyone(cluster) as clients, reading(cluster, clients):
        await say(clients[0], range(1, MESSAGES + 1))
        await settle(cluster, len(NAMES) * MESSAGES)


async def say(client: WebSocket, numbers: range, text: str = "こんにちは") -> None:
    """答えを待たずに、続けて送る。"""
    for number in numbers:
        await client.send(json.dumps({"number": number, "text": text}))


# --8<-- [end:traffic]
TRIES = 400
PATIENCE = 5
"""秒。何も届かなくなってから、もう届かないと決めるまで。"""
AFTER = 0.5
"""秒。全部が届いてから、余分な 1 通を待つ間。"""


@contextlib.asynccontextmanager
async def everyone(
    cluster: Cluster, names: Sequence[str] = NAMES
) -> AsyncIterator[list[WebSocket]]:
    """全員がつなぐ。どのワーカーにも同じ数がつながるまで、つなぎ直す。"""
    room = -(-len(names) // len(await cluster.workers()))
    clients: list[WebSocket] = []
    async with contextlib.AsyncExitStack() as stack:
        for name in names:
            for _ in range(TRIES):
                socket = cluster.websocket(f"/chat/{name}", step="open", timeout=30)
                client = await socket.__aenter__()
                together = sum(c.opened.worker == client.opened.worker for c in clients)
                if together < room:
                    break
                await socket.__aexit__(None, None, None)
            stack.push_async_exit(socket)
            clients.append(client)
        yield clients


@contextlib.asynccontextmanager
async def reading(
    cluster: Cluster, clients: Sequence[WebSocket], names: Sequence[str] = NAMES
) -> AsyncIterator[None]:
    """その間、だれもが届いたものを読み続ける。"""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(read(client, name))
            for client, name in zip(clients, names, strict=False)
        ]
        yield
        for task in tasks:
            task.cancel()


async def read(client: WebSocket, name: str) -> None:
    while client.close_code is None:
        await client.receive(step=name, value="number", timeout=60)


async def settle(cluster: Cluster, wanted: int, patience: float = PATIENCE) -> None:
    """全部が届くまで待つ。何も届かなくなったら、あきらめる。"""
    began = cluster.trace.now()
    while True:
        seen = [e for name in NAMES for e in cluster.trace.step(name)]
        quiet = cluster.trace.now() - max([began, *(e.end for e in seen)])
        if quiet > (AFTER if len(seen) >= wanted else patience):
            return
        await asyncio.sleep(0.05)


def numbers(trace: Trace, name: str) -> list[int]:
    """1 人が受け取った発言の番号を、届いた順に。"""
    return [int(e.value) for e in trace.step(name) if e.value is not None]


def each(trace: Trace, names: Sequence[str] = NAMES) -> list[list[int]]:
    return [numbers(trace, name) for name in names]


def delivered(trace: Trace) -> float:
    return sum(len(set(seen)) for seen in each(trace))


def twice(trace: Trace) -> float:
    return sum(len(seen) - len(set(seen)) for seen in each(trace))


def confused(trace: Trace) -> float:
    return sum(seen != sorted(seen) for seen in each(trace))


EXPERIMENT = Experiment(
    topic="websocket_broadcast",
    title="WebSocket の一斉送信",
    traffic=traffic,
    requests=len(NAMES) * (MESSAGES + 1),
    needs=frozenset({"redis"}),
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="delivered",
            label="8 人に届いた発言",
            observe=delivered,
            expected=len(NAMES) * MESSAGES,
            why="10 通が、どのワーカーにつながった人にも届きます。",
        ),
        Invariant(
            name="twice",
            label="余分に届いた発言",
            observe=twice,
            expected=0,
            why="同じ発言は、1 人に 1 回だけ届きます。",
        ),
        Invariant(
            name="confused",
            label="違う順に受け取った人",
            observe=confused,
            expected=0,
            why="1 人の発言は、送った順に届きます。",
        ),
    ),
    # --8<-- [end:invariants]
)

# --8<-- [start:drill]
HALF = MESSAGES // 2
OTHERS = NAMES[:-1]
AWAY = range(2, 2 + HALF)
BACK = range(AWAY.stop, AWAY.stop + HALF)


async def come_back(cluster: Cluster) -> None:
    """H は 1 通目を受け取って席を外し、5 通のあとに戻って、もう 5 通を受け取る。"""
    async with everyone(cluster, OTHERS) as clients, reading(cluster, clients):
        async with visit(cluster, "/chat/H"):
            await say(clients[0], range(1, 2))
            await settle(cluster, len(NAMES))
        await say(clients[0], AWAY)
        await settle(cluster, len(NAMES) + len(OTHERS) * HALF)
        last = cluster.trace.step("H")[-1].body.get("id", "")
        async with visit(cluster, f"/chat/H?after={last}"):
            await say(clients[0], BACK)
            await settle(cluster, len(NAMES) * BACK[-1])


@contextlib.asynccontextmanager
async def visit(cluster: Cluster, path: str) -> AsyncIterator[None]:
    """H がつなぎ、その間だけ読む。"""
    async with (
        cluster.websocket(path, step="open", timeout=30) as client,
        reading(cluster, [client], "H"),
    ):
        yield


async def stop_redis(cluster: Cluster) -> None:
    """Redis を止めて 5 通、起動し直して、つながったのを確かめてから 5 通を送る。"""
    async with everyone(cluster) as clients, reading(cluster, clients):
        await cluster.stop_service("redis")
        await say(clients[0], AWAY)
        await settle(cluster, HALF, patience=30)
        await cluster.start_service("redis")
        await until_all_are_back(cluster, clients[0])
        await say(clients[0], BACK)
        seen = sum(len(cluster.trace.step(name)) for name in NAMES)
        await settle(cluster, seen + HALF * len(NAMES))


PROBE = 1000


async def until_all_are_back(cluster: Cluster, client: WebSocket) -> None:
    """同じ 1 通が全員に届くまで、送り続ける。"""
    for probe in range(PROBE, PROBE + 120):
        await say(client, range(probe, probe + 1))
        await asyncio.sleep(0.5)
        if all(probe in seen for seen in each(cluster.trace)):
            return


PHOTOS, PHOTO = 16, "x" * 1_000_000


async def do_not_read(cluster: Cluster) -> None:
    """H は何も読まない。A が 1 MB の写真を 16 枚送ったあとで、H がやっと読み始める。"""
    async with everyone(cluster) as clients:
        async with reading(cluster, clients[:-1]):
            await say(clients[0], range(1, PHOTOS + 1), PHOTO)
            await settle(cluster, len(OTHERS) * PHOTOS, patience=60)
        slow = clients[-1]
        await asyncio.wait_for(read(slow, "H"), 60)
        cluster.trace.note(
            "measured", detail="closed", value=float(slow.close_code is not None)
        )


# --8<-- [end:drill]
def got(trace: Trace, names: Sequence[str], wanted: range) -> float:
    """names に届いた、wanted の番号の発言。"""
    return sum(len(set(seen) & set(wanted)) for seen in each(trace, names))


def told(trace: Trace) -> float:
    """A が受け取った、送れなかったという知らせ。"""
    return sum(e.value is None for e in trace.step("A"))


DRILLS = (
    Experiment(
        topic="websocket_broadcast",
        drill="come_back",
        title="席を外して戻った人",
        traffic=come_back,
        requests=len(NAMES) * BACK.stop,
        needs=frozenset({"redis"}),
        invariants=(
            Invariant(
                name="others",
                label="ほかの 7 人に届いた発言",
                observe=lambda trace: got(trace, OTHERS, range(1, BACK.stop)),
                expected=len(OTHERS) * BACK[-1],
                why="1 人が出入りしても、ほかの人は 11 通とも受け取ります。",
            ),
            Invariant(
                name="away",
                label="席を外した間の 5 通のうち、H に届いた発言",
                observe=lambda trace: got(trace, "H", AWAY),
                expected=0,
                why="pub/sub は、その場にいない人の分を取っておきません。",
            ),
            Invariant(
                name="back",
                label="戻ったあとの 5 通のうち、H に届いた発言",
                observe=lambda trace: got(trace, "H", BACK),
                expected=HALF,
                why="つなぎ直せば、次の発言からは届きます。",
            ),
        ),
    ),
    Experiment(
        topic="websocket_broadcast",
        drill="redis_stopped",
        title="Redis が止まり、戻ってくる",
        traffic=stop_redis,
        requests=len(NAMES) * BACK.stop,
        needs=frozenset({"redis"}),
        invariants=(
            Invariant(
                name="lost",
                label="止まっている間の 5 通のうち、届いた発言",
                observe=lambda trace: got(trace, NAMES, AWAY),
                expected=0,
                why="通り道がないので、同じワーカーの人にも届きません。",
            ),
            Invariant(
                name="told",
                label="送れなかったと知らされた発言",
                observe=told,
                relation=">=",
                expected=HALF,
                why="黙って捨てず、送った人に知らせます。",
            ),
            Invariant(
                name="back",
                label="戻ったあとの 5 通で、8 人に届いた発言",
                observe=lambda trace: got(trace, NAMES, BACK),
                expected=len(NAMES) * HALF,
                why="どのワーカーも、自分で購読し直します。",
            ),
        ),
    ),
    Experiment(
        topic="websocket_broadcast",
        drill="slow_client",
        title="読まない人",
        traffic=do_not_read,
        requests=len(NAMES) * PHOTOS,
        needs=frozenset({"redis"}),
        invariants=(
            Invariant(
                name="others",
                label="ほかの 7 人に届いた写真",
                observe=lambda trace: got(trace, OTHERS, range(1, PHOTOS + 1)),
                expected=len(OTHERS) * PHOTOS,
                why="読まない人を待つのは、5 秒までです。",
            ),
            Invariant(
                name="slow",
                label="読まない人に届いた写真",
                observe=lambda trace: got(trace, "H", range(1, PHOTOS + 1)),
                relation="<=",
                expected=PHOTOS - 1,
                why="切られる前に、OS とサーバーのバッファーに入った分だけです。",
            ),
            Invariant(
                name="closed",
                label="閉じられた、読まない人の接続",
                observe=lambda trace: (trace.measured("closed") or [0])[-1],
                expected=1,
                why="閉じれば、クライアントは気づいて、つなぎ直せます。",
            ),
        ),
    ),
)
