"""3 人がプロキシの向こうから、上限の 5 通を超えて確認コードを求めます。"""

import asyncio

from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Invariant
from workerlab.trace import Trace

# --8<-- [start:traffic]
LIMIT = 5  # 通。1 人に 10 分間。窓は最初の 1 通で始まるので、時計の区切りにはよらない
GREEDY, ANOTHER, LIAR = "203.0.113.7", "198.51.100.20", "192.0.2.66"
REQUESTS = {"greedy": 100, "another": 40, "liar": 40}


async def traffic(cluster: Cluster) -> None:
    await ask(cluster, REQUESTS["greedy"], GREEDY, step="greedy")
    await ask(cluster, REQUESTS["another"], ANOTHER, step="another")
    await lie(cluster)


async def ask(cluster: Cluster, count: int, client: str, *, step: str) -> None:
    """プロキシは、つながってきた相手のアドレスを X-Forwarded-For に書く。"""
    headers = {"X-Forwarded-For": client}
    await burst(cluster, count, "POST", "/codes", step=step, headers=headers, value="sent")


async def lie(cluster: Cluster) -> None:
    """毎回違うアドレスを自分で書いておく人。プロキシは、本当のアドレスをその右に足す。"""
    async with asyncio.TaskGroup() as people:
        for number in range(REQUESTS["liar"]):
            headers = {"X-Forwarded-For": f"10.0.0.{number}, {LIAR}"}
            people.create_task(
                cluster.request("POST", "/codes", step="liar", headers=headers, value="sent")
            )


# --8<-- [end:traffic]
def sent(trace: Trace, step: str) -> float:
    return sum(exchange.ok for exchange in trace.step(step))


EXPERIMENT = Experiment(
    topic="rate_limit_per_worker",
    title="ワーカーごとのレート制限",
    traffic=traffic,
    requests=sum(REQUESTS.values()),
    pictured="greedy",
    needs=frozenset({"files", "redis"}),
    # --8<-- [start:invariants]
    invariants=(
        Invariant(
            name="greedy",
            label="100 回求めた人に送った数",
            observe=lambda trace: sent(trace, "greedy"),
            expected=LIMIT,
            why="どのワーカーが答えても、全部で 5 通です。少なくてもいけません。",
        ),
        Invariant(
            name="another",
            label="別の人に送った数",
            observe=lambda trace: sent(trace, "another"),
            expected=LIMIT,
            why="ほかの人が使い切っても、自分の 5 通は残っています。",
        ),
        Invariant(
            name="liar",
            label="アドレスを偽る人に送った数",
            observe=lambda trace: sent(trace, "liar"),
            expected=LIMIT,
            why="クライアントが自分で書いたアドレスには、だまされません。",
        ),
    ),
    # --8<-- [end:invariants]
)


# --8<-- [start:drill]
BEFORE, DOWN, AFTER = 10, 20, 20


async def redis_down(cluster: Cluster) -> None:
    """使い切ったあとで Redis が止まり、空になって戻る。"""
    await ask(cluster, BEFORE, GREEDY, step="before")
    await cluster.stop_service("redis")
    await ask(cluster, DOWN, GREEDY, step="down")
    await cluster.start_service("redis")
    await ask(cluster, AFTER, GREEDY, step="after")


# --8<-- [end:drill]
def drill(name: str, title: str, policy: str, *down: Invariant) -> Experiment:
    return Experiment(
        topic="rate_limit_per_worker",
        drill=name,
        title=title,
        traffic=redis_down,
        requests=BEFORE + DOWN + AFTER,
        needs=frozenset({"files", "redis"}),
        environment={"WHEN_REDIS_IS_DOWN": policy},
        invariants=(
            Invariant(
                name="before",
                label="止まる前に送った数",
                observe=lambda trace: sent(trace, "before"),
                expected=LIMIT,
                why="10 回求めて、上限の 5 通です。",
            ),
            *down,
            Invariant(
                name="after",
                label="戻ったあとに送った数",
                observe=lambda trace: sent(trace, "after"),
                expected=LIMIT,
                why="数えた記録も消えたので、10 分を待たずに、もう 5 通送りました。",
            ),
        ),
    )


def sent_while_down(expected: int, why: str) -> Invariant:
    return Invariant(
        name="down",
        label="止まっている間に送った数",
        observe=lambda trace: sent(trace, "down"),
        expected=expected,
        why=why,
    )


DRILLS = (
    drill(
        "fail_closed",
        "Redis が止まったら、断る",
        "refuse",
        sent_while_down(0, "1 通も送りません。まだ 5 通残っている人にも送れません。"),
        Invariant(
            name="unavailable",
            label="止まっている間に 503 で断った数",
            observe=lambda trace: sum(e.status == 503 for e in trace.step("down")),
            expected=DOWN,
            why="上限を超えた 429 とは、区別できる答えです。",
        ),
    ),
    drill(
        "fail_open",
        "Redis が止まったら、送る",
        "send",
        sent_while_down(DOWN, "20 回求めて、20 通です。上限がありません。"),
    ),
)
