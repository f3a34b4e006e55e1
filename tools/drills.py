"""Break the running prod stack under load, and write what its clients saw to the site.

The stack must run: .venv/bin/python -m tools.drills
With names of drills, play these alone and write nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools import drill_acts as acts
from tools.drill_acts import (
    PLAIN_STEPS,
    SLOW,
    WORKERS,
    Field,
    docker,
    failed,
    failures,
    measure,
)
from tools.drill_load import CONNECTIONS, TOPICS, Load
from workerlab import recording
from workerlab.catalog import ROOT
from workerlab.client import Client
from workerlab.compose import STACKS, STARTUP_TIMEOUT, Compose, ComposeCluster
from workerlab.experiment import Invariant, Verdict, number
from workerlab.trace import Exchange, Trace

FOLDER = recording.FOLDER / "drills"
STACK = STACKS["stack:prod"]
URL = f"http://127.0.0.1:{STACK.port}"

# -- what is promised --------------------------------------------------------------------------


def measured(name: str) -> Callable[[Trace], float]:
    """Read a number that was kept."""
    return lambda trace: trace.measured(name)[-1] if trace.measured(name) else float("nan")


def failures_of(*steps: str) -> Callable[[Trace], float]:
    """As an invariant observes it."""
    return lambda trace: failures(trace, *steps)


def failures_of_begun(trace: Trace) -> float:
    """Requests that had been sent when the command was given, and failed."""
    (fault,) = (event.at for event in trace.events if event.kind == "fault")
    return sum(e.start < fault for e in failed(trace, *PLAIN_STEPS, "slow"))


def promise(
    name: str,
    label: str,
    observe: Callable[[Trace], float],
    expected: float,
    why: str,
    *,
    relation: Any = "==",
) -> Invariant:
    """An invariant, on one line."""
    return Invariant(
        name=name,
        label=label,
        observe=observe,
        expected=expected,
        relation=relation,
        why=why,
    )


LOST_ORDERS = promise(
    "lost_orders",
    "失った注文",
    measured("lost_orders"),
    0,
    "答えるのは、PostgreSQL がディスクに書き終えたあとだからです。",
)
GIVEN_UP = promise(
    "given_up",
    "やり直すクライアントの失敗",
    measured("given_up"),
    0,
    "届いたかどうかを確かめ、届いていなければ送り直すからです。",
)
KEPT_VISITS = promise(
    "lost_visits",
    "失った来場",
    measured("lost_visits"),
    0,
    "数は Valkey にあり、アプリが止まっても残るからです。",
)
ONE_WORKER = promise(
    "failed",
    "失敗",
    failures_of(*PLAIN_STEPS),
    CONNECTIONS,
    f"{CONNECTIONS} 本の接続が、それぞれ答えを 1 つ待っているからです。",
    relation="<=",
)
BEGUN = promise(
    "failed_of_begun",
    "命令より前に送ったリクエストの失敗",
    failures_of_begun,
    0,
    "gunicorn は、処理中のリクエストを 30 秒まで待つからです。",
)
SLOW_KEPT = promise(
    "answered_slow",
    "処理中だった遅い注文の答え",
    lambda trace: sum(e.ok for e in trace.step("slow")),
    SLOW,
    "残りの仕事が、gunicorn の待つ 30 秒より短いからです。",
)
ORDERS_GO_ON = promise(
    "failed_orders",
    "注文の失敗",
    failures_of("order"),
    0,
    "注文は Valkey を使わないからです。",
)
VISITS_GO_ON = promise(
    "failed_visits",
    "来場の失敗",
    failures_of("visit"),
    0,
    "来場は PostgreSQL を使わないからです。",
)
BACK = promise(
    "workers",
    "人手なしで戻ったワーカー",
    measured("workers"),
    WORKERS,
    "親が死ぬとコンテナが終わり、Docker が起動し直すからです。",
)
FULL_IS_FINE = promise(
    "failed_while_full",
    "いっぱいになっただけでの失敗",
    measured("failed_while_full"),
    0,
    "動いているワーカーは、場所を起動のときに取り終えているからです。",
)
NOT_RESTARTED = promise(
    "running",
    "自分で戻った Valkey",
    measured("running"),
    0,
    "`docker compose kill` は、人が止めたことになるからです。",
)


@dataclass(frozen=True, kw_only=True)
class Drill:
    """One way to break the stack, and what we promise then."""

    name: str
    label: str
    act: Callable[[Field], Awaitable[None]]
    promises: tuple[Invariant, ...]
    """Those that differ from drill to drill; `every` has all of them."""
    unbounded: str = ""
    """Whose failures have no bound; empty: nobody's."""
    keeps_visits: bool = True

    @property
    def every(self) -> tuple[Invariant, ...]:
        """All promises of this drill."""
        kept = (KEPT_VISITS,) if self.keeps_visits else ()
        return (*self.promises, LOST_ORDERS, *kept, GIVEN_UP)


DRILLS = {
    drill.name: drill
    for drill in (
        Drill(
            name="kill_worker",
            label="ワーカーを `kill -9`",
            act=acts.kill_worker,
            promises=(ONE_WORKER,),
        ),
        Drill(
            name="out_of_memory",
            label="メモリの上限",
            act=acts.out_of_memory,
            promises=(ONE_WORKER,),
        ),
        Drill(
            name="disk_full",
            label="`/run/app` がいっぱい",
            act=acts.disk_full,
            promises=(FULL_IS_FINE, ONE_WORKER),
        ),
        Drill(
            name="kill_server",
            label="gunicorn の親を `kill -9`",
            act=acts.kill_server,
            promises=(BACK,),
            unbounded="失敗",
        ),
        Drill(
            name="restart_app",
            label="アプリを `restart`",
            act=acts.restart_app,
            promises=(BEGUN,),
            unbounded="そのあとの失敗",
        ),
        Drill(
            name="stop_app",
            label="アプリを `stop`",
            act=acts.stop_app,
            promises=(SLOW_KEPT, BEGUN),
            unbounded="そのあとの失敗",
        ),
        Drill(
            name="restart_db",
            label="PostgreSQL を `restart`",
            act=acts.restart("db"),
            promises=(VISITS_GO_ON,),
            unbounded="注文の失敗",
        ),
        Drill(
            name="kill_db",
            label="PostgreSQL を `kill -9`",
            act=acts.kill("db"),
            promises=(VISITS_GO_ON,),
            unbounded="注文の失敗",
        ),
        Drill(
            name="restart_cache",
            label="Valkey を `restart`",
            act=acts.restart("cache"),
            promises=(ORDERS_GO_ON,),
            unbounded="来場の失敗",
            keeps_visits=False,
        ),
        Drill(
            name="kill_cache",
            label="Valkey を `kill -9`",
            act=acts.kill("cache"),
            promises=(ORDERS_GO_ON,),
            unbounded="来場の失敗",
            keeps_visits=False,
        ),
        Drill(
            name="kill_cache_by_hand",
            label="Valkey を `compose kill`",
            act=acts.kill_cache_by_hand,
            promises=(ORDERS_GO_ON, NOT_RESTARTED),
            unbounded="来場の失敗",
            keeps_visits=False,
        ),
    )
}


# -- playing -----------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def stage(folder: Path = ROOT) -> AsyncIterator[Compose]:
    """The prod stack of *folder* with the drills' topics alone; afterwards with all."""
    compose = Compose(STACK, STARTUP_TIMEOUT, folder=folder)
    await compose.check()
    try:
        await compose.start_app(TOPICS)
        yield compose
    finally:
        await compose.start_app("")


async def play(drill: Drill, compose: Compose) -> Trace:
    """Act under load; return when the stack is whole again and all is counted."""
    trace = Trace()
    async with Client(URL, trace) as client, Load(URL, trace) as load:
        field = Field(compose, ComposeCluster(compose, client, trace, WORKERS), load)
        await field.complete()
        await load.settle()
        began = await field.inspect("app", ".State.StartedAt")
        await drill.act(field)
        await load.settle()
        await field.complete()
        await load.stop()
        ended = await field.inspect("app", ".State.StartedAt")
        measure(trace, "workers", len(await field.cluster.workers()))
        measure(trace, "app_restarted", int(ended != began))
        measure(trace, "acknowledged_orders", len(load.orders))
        measure(trace, "acknowledged_visits", len(load.visits))
        measure(trace, "lost_orders", await load.lost_orders())
        measure(trace, "lost_visits", await load.lost_visits())
        measure(trace, "given_up", load.given_up)
        saved = await load.saved_orders()
        measure(trace, "saved_but_failed", len(saved & set(load.refused)))
    return trace


def judge(drill: Drill, trace: Trace) -> list[Verdict]:
    """Every promise of *drill*."""
    return [invariant.judge(trace) for invariant in drill.every]


def summary(drill: Drill, trace: Trace) -> dict[str, Any]:
    """What is kept of a run."""
    steps = (*PLAIN_STEPS, "slow")
    return {
        "drill": drill.name,
        "sent": sum(e.step in steps for e in trace.exchanges),
        "failed": dict(Counter(kind(e) for e in failed(trace, *steps)).most_common()),
        "sent_again": len(trace.step("again")),
        "measured": {e.detail: e.value for e in trace.events if e.kind == "measured"},
        "promises": [
            {"name": v.invariant.name, "observed": v.observed, "holds": v.holds}
            for v in judge(drill, trace)
        ],
    }


def kind(exchange: Exchange) -> str:
    """How a request failed, in a word."""
    return "答えなし" if exchange.status is None else str(exchange.status)


# -- showing -----------------------------------------------------------------------------------


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """What came out, one row for each drill."""
    rows = [
        "| 訓練 | 送った数 | 失敗 | 失ったもの | やり直すと |",
        "| --- | --- | --- | --- | --- |",
    ]
    for run in runs:
        cells = (
            DRILLS[run["drill"]].label,
            str(run["sent"]),
            failed_cell(run),
            lost_cell(run),
            f"失敗 {number(run['measured']['given_up'])}<br>送り直し {run['sent_again']}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def promises_table() -> str:
    """What is promised and why, one row for each promise."""
    rows = ["| 訓練 | 約束 | 理由 |", "| --- | --- | --- |"]
    shared = (
        ("すべて", LOST_ORDERS),
        ("すべて", GIVEN_UP),
        ("Valkey を止めない訓練", KEPT_VISITS),
    )
    for label, p in shared:
        rows.append(f"| {label} | {p.label} {p.requirement} | {p.why} |")
    for drill in DRILLS.values():
        for p in drill.promises:
            rows.append(f"| {drill.label} | {p.label} {p.requirement} | {p.why} |")
        if drill.unbounded:
            rows.append(
                f"| {drill.label} | {drill.unbounded}：上限なし | 戻るまで続くからです。 |"
            )
    return "\n".join(rows) + "\n"


def failed_cell(run: Mapping[str, Any]) -> str:
    """How many, and of what kind."""
    total = sum(run["failed"].values())
    return "<br>".join([str(total), *(f"{name}：{n}" for name, n in run["failed"].items())])


def lost_cell(run: Mapping[str, Any]) -> str:
    """Lost of acknowledged."""
    got = run["measured"]
    return "<br>".join(
        f"{label} {number(got[f'lost_{name}'])} / {number(got[f'acknowledged_{name}'])}"
        for name, label in (("orders", "注文"), ("visits", "来場"))
    )


def conditions_line(told: Mapping[str, Any]) -> str:
    """The foot of the page."""
    named = "、".join(f"{name} {version}" for name, version in told["versions"].items())
    return (
        f"検証: {told['recorded_on']}、{named}。"
        "繰り返すには、本番の環境を起動してから `.venv/bin/python -m tools.drills` を"
        "実行します。"
        "この内容を守るテストは `tests/stacks/test_stacks.py` と "
        "`tests/docs/test_drills_page.py` にあります。\n"
    )


def derived(recorded: Mapping[str, Any]) -> dict[Path, str]:
    """What the page includes, made of what was recorded."""
    return {
        FOLDER / "table.txt": table(recorded["runs"]),
        FOLDER / "promises.txt": promises_table(),
        FOLDER / "verified.txt": conditions_line(recorded),
    }


async def versions(compose: Compose) -> dict[str, str]:
    """Of all that took part."""
    asked = "from importlib.metadata import version as v; import platform; print("
    asked += "platform.python_version(), v('fastapi'), v('uvicorn'), v('gunicorn'))"
    python, fastapi, uvicorn, gunicorn = (
        await compose.run("exec", "-T", "app", "python", "-c", asked)
    ).split()
    return {
        "Docker": (await docker("version", "--format", "{{.Server.Version}}")).split("+")[0],
        "Docker Compose": plain(await docker("compose", "version", "--short")),
        "Python": python,
        "FastAPI": fastapi,
        "uvicorn": uvicorn,
        "gunicorn": gunicorn,
        "Valkey": plain(await compose.run("exec", "-T", "cache", "valkey-server", "--version")),
        "PostgreSQL": plain(await compose.run("exec", "-T", "db", "postgres", "--version")),
    }


def plain(text: str) -> str:
    """The version's numbers alone."""
    found = re.search(r"\d+(\.\d+)+", text)
    assert found, text
    return found[0]


async def main(names: Sequence[str]) -> int:
    """Play, print the table, and write it when all drills were played and all held."""
    runs = []
    async with stage() as compose:
        told = {
            "recorded_on": dt.datetime.now(dt.UTC).date().isoformat(),
            "versions": await versions(compose),
        }
        for name in names or DRILLS:
            trace = await play(DRILLS[name], compose)
            runs.append(summary(DRILLS[name], trace))
            print(json.dumps(runs[-1], ensure_ascii=False), flush=True)
    if not all(p["holds"] for run in runs for p in run["promises"]):
        print("約束を破った訓練があります。記録は書き換えていません。", file=sys.stderr)
        return 1
    if not names:
        FOLDER.mkdir(exist_ok=True)
        recorded = {**told, "runs": runs}
        text = json.dumps(recorded, ensure_ascii=False, indent=1) + "\n"
        (FOLDER / "drills.json").write_text(text, encoding="utf-8")
        for path, content in derived(recorded).items():
            path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
