"""alice がかごに 20 個入れて 100 回見ます。別の 20 人は、ログインしてすぐログアウトします。"""

import asyncio
import math
import secrets
from collections.abc import Callable, Sequence
from http.cookies import SimpleCookie
from typing import Any

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Exchange, Trace

# --8<-- [start:traffic]
ITEMS = 20
CLICK = 0.004  # 秒。20 回を、在庫の問い合わせ（0.1 秒）より短い間に続けて押す
LOOKS = 100
LEAVERS, COPIES = 20, 5  # 20 人がログアウトし、写し取られた Cookie が 5 回ずつ届く


async def traffic(cluster: Cluster) -> None:
    alice = Browser(cluster)
    await alice.send("POST", "/login", step="login", json={"user": "alice"})
    async with asyncio.TaskGroup() as clicks:
        for _ in range(ITEMS):
            clicks.create_task(alice.send("POST", "/cart", step="cart", value="items"))
            await asyncio.sleep(CLICK)
    await look(cluster, LOOKS, alice.headers, "look", value="items")
    async with asyncio.TaskGroup() as leavers:
        for _ in range(LEAVERS):
            leavers.create_task(leave(cluster))


async def leave(cluster: Cluster) -> None:
    browser = Browser(cluster)
    await browser.send("POST", "/login", step="login", json={"user": "bob"})
    copied = browser.headers  # だれかが、ここで Cookie を写し取っていた
    await browser.send("POST", "/logout", step="logout")
    await look(cluster, COPIES, copied, "replay")


async def look(
    cluster: Cluster, count: int, cookie: dict[str, str], step: str, **options: Any
) -> None:
    """GET /me を送り、だれかの画面として答えた件数を残す。"""
    answers = await burst(cluster, count, "GET", "/me", step=step, headers=cookie, **options)
    known = sum(a.ok and a.body["user"] is not None for a in answers)
    cluster.trace.note("measured", detail=f"{step}.known", value=known)


class Browser:
    """受け取った Cookie を、次のリクエストに付けて返す。"""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.headers: dict[str, str] = {}

    async def send(self, method: str, path: str, **options: Any) -> Exchange:
        """送り、新しい Cookie が返れば入れ替える。"""
        answer = await self.cluster.request(method, path, headers=self.headers, **options)
        for name, morsel in SimpleCookie(answer.headers.get("set-cookie", "")).items():
            self.headers = {"cookie": f"{name}={morsel.value}"}
        return answer


# --8<-- [end:traffic]
def total(trace: Trace, name: str) -> float:
    return sum(trace.measured(name) or [math.nan])


def observe(name: str) -> Callable[[Trace], float]:
    return lambda trace: total(trace, name)


def highest(trace: Trace) -> float:
    """見えたうちで、いちばん多いかごの中身。"""
    seen = [e.value for e in trace.step("look") if e.value is not None]
    return max(seen, default=math.nan)


def ok(exchanges: Sequence[Exchange]) -> float:
    return sum(exchange.ok for exchange in exchanges)


def relogged_unknown(trace: Trace) -> float:
    return ok(trace.step("relogged")) - total(trace, "relogged.known")


EXPERIMENT = Experiment(
    topic="session_store",
    title="セッションの置き場所",
    traffic=traffic,
    requests=1 + ITEMS + LOOKS + LEAVERS * (2 + COPIES),
    pictured="items",
    needs=frozenset({"files", "redis"}),
    environment={"SECRET_KEY": secrets.token_hex(32)},
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="logged_in",
            label="ログイン中と答えた件数",
            observe=observe("look.known"),
            expected=LOOKS,
            why="ログインしたら、どのワーカーが答えてもログイン中です。",
        ),
        Invariant(
            name="items",
            label="かごに入っている数",
            observe=highest,
            expected=ITEMS,
            why="同時に押された 20 回が、1 回も失われません。",
        ),
        Invariant(
            name="replayed",
            label="ログアウト後もログイン中と答えた件数",
            observe=observe("replay.known"),
            expected=0,
            why="ログアウトした 20 人の Cookie は、写しを 100 回送られても通りません。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
VISITS = 50
PATIENCE = 4.0  # 秒。good.py の上限 2 秒に、余裕を見た


async def restart_redis(cluster: Cluster) -> None:
    browser = Browser(cluster)
    await browser.send("POST", "/login", step="login", json={"user": "alice"})
    await look(cluster, VISITS, browser.headers, "before")
    await cluster.stop_service("redis")
    await cluster.start_service("redis")  # ファイルに残さない設定なので、空で始まる
    await look(cluster, VISITS, browser.headers, "after")
    for _ in range(CONNECTIONS + 1):
        if (await browser.send("POST", "/login", step="again", json={"user": "alice"})).ok:
            break  # 古い接続に当たった 503 なら、もう一度押す
    await look(cluster, VISITS, browser.headers, "relogged")


async def stop_redis(cluster: Cluster) -> None:
    browser = Browser(cluster)
    await browser.send("POST", "/login", step="login", json={"user": "alice"})
    await look(cluster, VISITS, browser.headers, "before")
    await cluster.stop_service("redis")
    await look(cluster, VISITS, browser.headers, "down")


# --8<-- [end:drill]
CONNECTIONS = 4 * 8
"""4 ワーカーのプールに残る古い接続は、多くてこれだけ（同時に 8 件まで送る）。"""

DRILLS = (
    Experiment(
        topic="session_store",
        drill="redis_restart",
        title="永続化していない Redis が再起動する",
        traffic=restart_redis,
        requests=3 * VISITS + 2,
        needs=frozenset({"redis"}),
        invariants=(
            Invariant(
                name="before",
                label="再起動前にログイン中と答えた件数",
                observe=observe("before.known"),
                expected=VISITS,
                why="止める前は、50 件すべてがログイン中です。",
            ),
            Invariant(
                name="after",
                label="再起動後にログイン中と答えた件数",
                observe=observe("after.known"),
                expected=0,
                why="空で始まった Redis は、だれも覚えていません。全員がログアウトします。",
            ),
            Invariant(
                name="stale",
                label="再起動後に 503 で断った件数",
                observe=lambda trace: sum(
                    e.status == 503
                    for step in ("after", "again", "relogged")
                    for e in trace.step(step)
                ),
                relation="<=",
                expected=CONNECTIONS,
                why="プールの古い接続は、1 本につき 1 回まで失敗します（4 × 8 本）。",
            ),
            Invariant(
                name="relogged",
                label="入り直したあとのログアウト中の件数",
                observe=lambda trace: (
                    ok(trace.step("relogged")) - total(trace, "relogged.known")
                ),
                expected=0,
                why="もう一度ログインすれば、元どおりに使えます。",
            ),
        ),
    ),
    Experiment(
        topic="session_store",
        drill="redis_stop",
        title="Redis が止まったままになる",
        traffic=stop_redis,
        requests=2 * VISITS + 1,
        needs=frozenset({"redis"}),
        invariants=(
            Invariant(
                name="before",
                label="停止前にログイン中と答えた件数",
                observe=observe("before.known"),
                expected=VISITS,
                why="止める前は、50 件すべてがログイン中です。",
            ),
            Invariant(
                name="refused",
                label="停止中に 4 秒以内に 503 で断った件数",
                observe=lambda trace: sum(
                    e.status == 503 and e.end - e.start <= PATIENCE for e in trace.step("down")
                ),
                expected=VISITS,
                why="だれなのか確かめられないときは、待たせずに断ります。",
            ),
            Invariant(
                name="guessed",
                label="停止中に 200 で答えた件数",
                observe=lambda trace: ok(trace.step("down")),
                expected=0,
                why="確かめていないことを、確かめたように答えません。",
            ),
        ),
    ),
)
