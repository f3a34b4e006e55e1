"""1 人がログインして 100 回見ます。攻撃者は、よくある鍵で作った Cookie を 100 回送ります。"""

import base64
import json
import math
import secrets
from collections.abc import Callable
from http.cookies import SimpleCookie

from itsdangerous import TimestampSigner

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
LOOKS = 100
GUESSES = (
    *("your-secret-key", "secret-key", "secret_key", "secret", "supersecret"),
    *("change-me", "changeme", "password", "development", "test"),
)  # 説明書や公開されたコードでよく見る鍵
TRIES = 10


async def traffic(cluster: Cluster) -> None:
    await look(cluster, LOOKS, await log_in(cluster), "look", value="known")
    for key in GUESSES:
        await look(cluster, TRIES, forge(key), "forged")


async def log_in(cluster: Cluster) -> dict[str, str]:
    """ログインし、受け取った Cookie を返す。"""
    answer = await cluster.request("POST", "/login", step="login", json={"user": "alice"})
    cookie = SimpleCookie(answer.headers.get("set-cookie", ""))
    return {"cookie": "; ".join(f"{name}={m.value}" for name, m in cookie.items())}


async def look(
    cluster: Cluster, count: int, cookie: dict[str, str], step: str, value: str | None = None
) -> None:
    """GET /me を送り、だれかの画面として答えた件数を残す。"""
    answers = await burst(cluster, count, "GET", "/me", step=step, headers=cookie, value=value)
    known = sum(a.ok and a.body["user"] is not None for a in answers)
    cluster.trace.note("measured", detail=f"{step}.known", value=known)


def forge(key: str) -> dict[str, str]:
    """アプリと同じ方法で、管理者の Cookie に署名する。"""
    data = base64.b64encode(json.dumps({"user": "admin"}).encode())
    return {"cookie": f"session={TimestampSigner(key).sign(data).decode()}"}


# --8<-- [end:traffic]
def known(step: str) -> Callable[[Trace], float]:
    return lambda trace: sum(trace.measured(f"{step}.known") or [math.nan])


OLD, NEW = secrets.token_hex(32), secrets.token_hex(32)  # 実行のたびに作る、試験用の鍵

EXPERIMENT = Experiment(
    topic="random_secret_key",
    title="起動のたびに変わる秘密鍵",
    traffic=traffic,
    requests=1 + LOOKS + len(GUESSES) * TRIES,
    environment={"SECRET_KEY": OLD},
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="logged_in",
            label="ログイン中と答えた件数",
            observe=known("look"),
            expected=LOOKS,
            why="1 つのワーカーが署名した Cookie を、どのワーカーも正しいと認めます。",
        ),
        Invariant(
            name="forged",
            label="通ってしまった偽造の Cookie",
            observe=known("forged"),
            expected=0,
            why="だれでも思いつく鍵で署名した 100 件は、1 件も通りません。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
VISITS = 50


async def redeploy(cluster: Cluster) -> None:
    cookie = await log_in(cluster)
    await look(cluster, VISITS, cookie, "before")
    await cluster.restart()
    await look(cluster, VISITS, cookie, "after")


async def rotate(cluster: Cluster) -> None:
    """古い鍵で動かし、新しい鍵と並べて動かし、最後に古い鍵を外す。"""
    old = await log_in(cluster)
    await cluster.restart({"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": OLD})
    await look(cluster, VISITS, old, "overlap")
    new = await log_in(cluster)
    await cluster.restart({"SECRET_KEY": NEW})
    await look(cluster, VISITS, old, "old")
    await look(cluster, VISITS, new, "new")


# --8<-- [end:drill]
DRILLS = (
    Experiment(
        topic="random_secret_key",
        drill="redeploy",
        title="デプロイのために全体を再起動する",
        traffic=redeploy,
        requests=1 + 2 * VISITS,
        environment={"SECRET_KEY": OLD},
        invariants=(
            Invariant(
                name="before",
                label="再起動前にログイン中と答えた件数",
                observe=known("before"),
                expected=VISITS,
                why="再起動する前は、50 件すべてがログイン中です。",
            ),
            Invariant(
                name="after",
                label="再起動後にログイン中と答えた件数",
                observe=known("after"),
                expected=VISITS,
                why="鍵はプロセスの外にあるので、全ワーカーが入れ替わっても変わりません。",
            ),
        ),
    ),
    Experiment(
        topic="random_secret_key",
        drill="rotation",
        title="鍵を取り替える",
        traffic=rotate,
        requests=2 + 3 * VISITS,
        environment={"SECRET_KEY": OLD},
        invariants=(
            Invariant(
                name="overlap",
                label="2 つの鍵を並べた間に通った、古い Cookie",
                observe=known("overlap"),
                expected=VISITS,
                why="古い鍵は検証に残してあるので、だれもログアウトしません。",
            ),
            Invariant(
                name="old",
                label="古い鍵を外した後に通った、古い Cookie",
                observe=known("old"),
                expected=0,
                why="外した瞬間に、古い鍵の Cookie はすべて無効になります。",
            ),
            Invariant(
                name="new",
                label="古い鍵を外した後に通った、新しい Cookie",
                observe=known("new"),
                expected=VISITS,
                why="並べた間にログインした人は、そのまま使えます。",
            ),
        ),
    ),
)
