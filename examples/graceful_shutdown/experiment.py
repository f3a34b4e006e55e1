"""注文、SSE、WebSocket の途中でサーバーを止め、失われたものを数えます。"""

import asyncio
import dataclasses
import math

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Exchange, Trace

# --8<-- [start:traffic]
ORDERS, STREAMS, SOCKETS, SHOPPERS = 8, 4, 4, 4
GRACE = 10  # 秒。docker stop の既定と同じ
HOOK = 'touch "$RUNTIME_DIRECTORY/draining"'


async def traffic(cluster: Cluster) -> None:
    async with asyncio.TaskGroup() as clients:
        balancer = open_everything(cluster, clients)
        await balancer.probed(2)
        await cluster.execute("sh", "-c", HOOK)  # SIGTERM の前に動かすコマンド
        await balancer.probed(1)
        for key in range(ORDERS):
            clients.create_task(order(cluster, f"{key}"))
        await balancer.probed(3)  # ロードバランサーが気づくまで待つ
        await cluster.stop(grace=GRACE)  # SIGTERM。猶予を過ぎたら SIGKILL
        balancer.stop()


def open_everything(cluster: Cluster, clients: asyncio.TaskGroup) -> "Balancer":
    balancer = Balancer(cluster, clients)
    for _ in range(STREAMS):
        clients.create_task(watch_stream(cluster))
    for _ in range(SOCKETS):
        clients.create_task(watch_socket(cluster))
    for _ in range(SHOPPERS):
        clients.create_task(shop(cluster, balancer))
    return balancer


class Balancer:
    """ロードバランサーの代わり。/readyz が 2 回続けて失敗したら、もう客を送らない。"""

    def __init__(self, cluster: Cluster, clients: asyncio.TaskGroup) -> None:
        self.sending = True
        self.probes = 0
        self.task = clients.create_task(self.probe(cluster))

    async def probe(self, cluster: Cluster) -> None:
        """0.25 秒ごとに尋ねる。"""
        failures = 0
        while True:
            answer = await cluster.request("GET", "/readyz", step="probe", timeout=30)
            failures = 0 if answer.ok else failures + 1
            self.sending = self.sending and failures < 2
            self.probes += 1
            await asyncio.sleep(0.25)

    async def probed(self, times: int) -> None:
        """あと times 回の答えを待つ。"""
        until = self.probes + times
        while self.probes < until:
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        """客を送るのも、尋ねるのもやめる。"""
        self.sending = False
        self.task.cancel()


async def shop(cluster: Cluster, balancer: Balancer) -> None:
    while balancer.sending:
        await cluster.request("GET", "/orders", step="shop", timeout=60)
        await asyncio.sleep(0.05)


# --8<-- [end:traffic]
async def order(cluster: Cluster, key: str, lines: int = 8, *, step: str = "order") -> Exchange:
    what = {"lines": lines}
    return await cluster.request("PUT", f"/orders/{key}", step=step, json=what, timeout=120)


async def watch_stream(cluster: Cluster) -> None:
    """最後まで届けば、答えのあったリクエストになる。途中で切れたら、答えはない。"""
    await cluster.request("GET", "/orders/stream", step="stream", timeout=120)


async def watch_socket(cluster: Cluster) -> None:
    async with cluster.websocket("/orders/live", step="open", timeout=60) as socket:
        while socket.close_code is None:
            await socket.receive(step="live", timeout=60)
        cluster.trace.note("measured", detail="close_code", value=int(socket.close_code))


def noted(trace: Trace, name: str) -> float:
    return (trace.measured(name) or [math.nan])[-1]


def unanswered(trace: Trace, step: str) -> float:
    return sum(exchange.status is None for exchange in trace.step(step))


def answered(trace: Trace, step: str) -> float:
    return sum(exchange.ok for exchange in trace.step(step))


def told(trace: Trace) -> float:
    return trace.measured("close_code").count(1012)


# --8<-- [start:invariants]
LOST = Invariant(
    name="lost",
    label="答えのなかった、短いリクエスト",
    observe=lambda trace: unanswered(trace, "shop"),
    expected=0,
    why="ロードバランサーが先に気づけば、止まるサーバーには届きません。",
)
ANSWERED = Invariant(
    name="orders",
    label="答えのあった、4 秒かかる注文",
    observe=lambda trace: answered(trace, "order"),
    expected=ORDERS,
    why="止まる前に受け取った注文は、最後まで処理します。",
)
ENDED = Invariant(
    name="streams",
    label="切れずに終わった SSE",
    observe=lambda trace: answered(trace, "stream"),
    expected=STREAMS,
    why="終わりのない応答は、サーバーの側から終えます。",
)
TOLD = Invariant(
    name="sockets",
    label="1012 を受け取って閉じた WebSocket",
    observe=told,
    expected=SOCKETS,
    why="1012 は「起動し直すので、つなぎ直してほしい」という合図です。",
)
FINISHED = Invariant(
    name="finished",
    label="lifespan の終わりまで進んだワーカー",
    observe=lambda trace: noted(trace, "stop.finished"),
    expected=4,
    why="片付けの処理が、どのワーカーでも動きます。",
)
KILLED = Invariant(
    name="killed",
    label="猶予の 10 秒で終わらず、SIGKILL を受けたプロセス",
    observe=lambda trace: noted(trace, "stop.killed"),
    expected=0,
    why="止まるまでの時間は、猶予より短くなります。",
)
# --8<-- [end:invariants]
EXPERIMENT = Experiment(
    topic="graceful_shutdown",
    title="穏やかな停止",
    traffic=traffic,
    requests=ORDERS + STREAMS + SOCKETS * 6 + SHOPPERS * 20,
    needs=frozenset({"files"}),
    may_lose_requests=True,  # 強制終了されたサーバーは、答えを返せない
    invariants=(LOST, ANSWERED, ENDED, TOLD, FINISHED, KILLED),
)


# --8<-- [start:drill]
LONG = 12  # 明細 12 行の注文は、6 秒かかる


async def without_hook(cluster: Cluster) -> None:
    """前もって知らせずに、いきなり SIGTERM を送る。"""
    async with asyncio.TaskGroup() as clients:
        balancer = open_everything(cluster, clients)
        await balancer.probed(2)
        await cluster.stop(grace=GRACE)
        balancer.stop()


async def short_grace(cluster: Cluster) -> None:
    """6 秒かかる注文の途中で、1 秒しか待たずに止める。起動し直し、同じキーで送り直す。"""
    async with asyncio.TaskGroup() as clients:
        for key in range(ORDERS):
            clients.create_task(order(cluster, f"{key}", LONG))
        await burst(cluster, 20, "GET", "/orders", step="shop")  # 注文は、これより先に届く
        await cluster.stop(grace=1)
    await cluster.restart()
    async with asyncio.TaskGroup() as clients:
        for key in range(ORDERS):
            clients.create_task(order(cluster, f"{key}", LONG, step="retry"))
    await burst(cluster, 20, "GET", "/orders", step="look", value="saved")


async def short_limit(cluster: Cluster) -> None:
    """6 秒かかる注文の途中で止める。猶予は 10 秒あるが、サーバーは 1 秒で打ち切る。"""
    async with asyncio.TaskGroup() as clients:
        for key in range(ORDERS):
            clients.create_task(order(cluster, f"{key}", LONG))
        await burst(cluster, 20, "GET", "/orders", step="shop")  # 注文は、これより先に届く
        await cluster.stop(grace=GRACE)


# --8<-- [end:drill]
NOT_ANSWERED = Invariant(
    name="unanswered",
    label="終わらなかった、6 秒かかる注文",
    observe=lambda trace: ORDERS - answered(trace, "order"),
    expected=ORDERS,
    why="終わる前に、打ち切られます。",
)
DRILLED = dataclasses.replace(EXPERIMENT, pictured="")
DRILLS = (
    dataclasses.replace(
        DRILLED,
        drill="no_hook",
        title="前もって知らせずに、SIGTERM を送る",
        traffic=without_hook,
        invariants=(
            dataclasses.replace(
                LOST,
                relation=">=",
                expected=1,
                why="ロードバランサーが気づくのは、もう受け付けなくなったあとです。",
            ),
            ENDED,
            TOLD,
            FINISHED,
            KILLED,
        ),
    ),
    dataclasses.replace(
        DRILLED,
        drill="short_grace",
        title="猶予が、仕事より短い",
        traffic=short_grace,
        requests=40 + 2 * ORDERS,
        invariants=(
            NOT_ANSWERED,
            dataclasses.replace(
                KILLED,
                label="猶予の 1 秒で終わらず、SIGKILL を受けたプロセス",
                relation=">=",
                expected=1,
                why="6 秒の仕事は、1 秒の猶予では終わりません。",
            ),
            Invariant(
                name="saved",
                label="送り直したあとに保存されている注文",
                observe=lambda trace: max(
                    (e.value for e in trace.step("look") if e.value is not None),
                    default=math.nan,
                ),
                expected=ORDERS,
                why="同じキーで送り直せば、1 件ずつ残ります。",
            ),
        ),
    ),
    dataclasses.replace(
        DRILLED,
        drill="short_limit",
        title="サーバーの打ち切りが、仕事より短い",
        traffic=short_limit,
        requests=20 + ORDERS,
        servers=frozenset({"uvicorn"}),
        options=("--timeout-graceful-shutdown=1",),
        invariants=(NOT_ANSWERED, FINISHED, KILLED),
    ),
)
