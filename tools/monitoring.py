"""Drill prod while Prometheus watches it, and draw what Prometheus has seen.

    .venv/bin/python tools/monitoring.py          # eight minutes;  prod and Prometheus must run
    .venv/bin/python tools/monitoring.py render   # pictures and table from the recorded JSON

Writes `docs/assets/recordings/monitoring/`: drill.json, and of it requests.svg, errors.svg,
latency.svg, workers.svg and drill.txt.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from workerlab import plot, recording
from workerlab.compose import STACKS, Compose
from workerlab.errors import ServiceError

FOLDER = recording.FOLDER / "monitoring"
STACK = STACKS["stack:prod"]
APP = f"http://127.0.0.1:{STACK.port}"
PROMETHEUS = f"http://127.0.0.1:{STACK.port + 2}"
PATHS = (("POST", "/topics/in_memory_counter/good/visits"), ("GET", "/whoami"))
PAUSE = 0.1
"""Seconds between two requests of the load."""
STEP = 15
"""Seconds between two values that are asked of Prometheus: it reads no more often."""
PACKAGES = ("fastapi", "gunicorn", "uvicorn", "uvicorn-worker", "prometheus-client")


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One picture: what is asked of Prometheus, and the alert that belongs to it."""

    title: str
    unit: str
    lines: Mapping[str, str]
    """Name (Japanese) and PromQL expression of each."""
    alert: str = ""
    limit: tuple[str, float] | None = None


CHARTS = {
    "requests": Chart(
        title="リクエストの数と、処理している数",
        unit="1 秒の件数、または件",
        lines={
            "答えたリクエスト（1 秒に）": "sum(rate(http_requests_total[1m]))",
            "処理しているリクエスト": "sum(http_requests_in_progress) - 1",
        },
        alert="AppDown",
    ),
    "errors": Chart(
        title="5xx の割合",
        unit="%",
        lines={
            "5 分間の 5xx の割合（%）": (
                '100 * sum(increase(http_requests_total{status="5xx"}[5m]))'
                " / sum(increase(http_requests_total[5m]))"
            )
        },
        alert="ErrorRatio",
        limit=("しきい値 5 %", 5),
    ),
    "latency": Chart(
        title="答え終わるまでの時間",
        unit="ミリ秒",
        lines={
            f"{percent} % のリクエストが収まる長さ（ミリ秒）": (
                f"1000 * histogram_quantile({percent / 100}, "
                "sum by (le) (rate(http_request_duration_seconds_bucket[1m])))"
            )
            for percent in (95, 50)
        },
    ),
    "workers": Chart(
        title="ワーカーの数と、突然死",
        unit="個、または回",
        lines={
            "答えられるワーカー": "sum(workers)",
            "5 分間の突然死": "sum(increase(worker_deaths_total[5m]))",
        },
        alert="WorkerRestarts",
        limit=("しきい値 3 回", 3),
    ),
}
ALERTS = {chart.alert: name for name, chart in CHARTS.items() if chart.alert}


# -- the drill ---------------------------------------------------------------------------------


class Load:
    """Clients that send at a steady pace, and know what became of each request."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.counts = {"2xx": 0, "5xx": 0, "none": 0}

    async def run(self) -> None:
        """Send until cancelled; then wait for the answers that are still to come."""
        async with asyncio.TaskGroup() as group:
            number = 0
            try:
                while True:
                    group.create_task(self.send(*PATHS[number % len(PATHS)]))
                    number += 1
                    await asyncio.sleep(PAUSE)
            except asyncio.CancelledError:
                return

    async def send(self, method: str, path: str) -> None:
        """One request on a connection of its own."""
        try:
            async with self.session.request(method, APP + path) as response:
                await response.read()
                self.counts[f"{response.status // 100}xx"] += 1
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.counts["none"] += 1


async def drill() -> dict[str, Any]:
    """Break three things, one after the other, and ask Prometheus what it saw."""
    compose = Compose(STACK, timeout=180)
    await compose.check()
    timeout = aiohttp.ClientTimeout(total=60)
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        if await ask(session, "query", query='up{job="app"} == 1') == []:
            raise ServiceError("Prometheus が、アプリをまだ読めていません。")
        load = Load(session)
        sending = asyncio.create_task(load.run())
        began = time.time()
        try:
            phases = await break_things(compose, load, session, began)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        ended = time.time()
        seen = {
            name: {
                label: await history(session, e, began, ended) for label, e in c.lines.items()
            }
            for name, c in CHARTS.items()
        }
        alerts = {
            alert: spans(
                await history(
                    session,
                    f'ALERTS{{alertname="{alert}",alertstate="firing"}}',
                    began,
                    ended,
                )
            )
            for alert in ALERTS
        }
        build = await ask(session, "status/buildinfo")
    return {
        **recording.environment(frozenset()),
        "versions": {
            **await versions(compose),
            "Prometheus": build["version"].partition("+")[0],
        },
        "seconds": ended - began,
        "phases": phases,
        "series": seen,
        "alerts": alerts,
    }


async def break_things(
    compose: Compose, load: Load, session: aiohttp.ClientSession, began: float
) -> list[dict[str, Any]]:
    """The three disturbances; of each when, and what its clients met until the next."""
    phases: list[dict[str, Any]] = []

    def begin(name: str, mark: str) -> None:
        print(f"{time.time() - began:4.0f} s  {name}", flush=True)
        if phases:
            phases[-1]["counts"] = dict(load.counts)
        load.counts.update(dict.fromkeys(load.counts, 0))
        phases.append({"name": name, "mark": mark, "at": time.time() - began})

    begin("何もしない", "")
    await asyncio.sleep(60)
    begin("ワーカーを 3 つ、20 秒おきに `kill -9`", "①")
    for _ in range(3):
        async with session.get(f"{APP}/whoami") as response:
            worker = (await response.json())["workers"][0]
        await compose.run("exec", "-T", "app", "sh", "-c", f"kill -9 {worker}")
        await asyncio.sleep(20)
    begin("Valkey を 25 秒止める", "②")
    await compose.run("stop", "cache")
    await asyncio.sleep(25)
    await compose.run("up", "--detach", "--no-deps", "--wait", "cache")
    await asyncio.sleep(150)
    begin("アプリを 100 秒止める", "③")
    await compose.run("stop", "app")
    await asyncio.sleep(100)
    await compose.run("start", "app")
    await asyncio.sleep(60)
    phases[-1]["counts"] = dict(load.counts)
    return phases


async def ask(session: aiohttp.ClientSession, path: str, **parameters: str) -> Any:
    """What Prometheus's API answers."""
    url = f"{PROMETHEUS}/api/v1/{path}"
    try:
        async with session.get(url, params=parameters) as response:
            data = (await response.json())["data"]
    except (aiohttp.ClientError, OSError, KeyError) as error:
        raise ServiceError(
            "Prometheus が答えません。--profile monitoring を付けて起動してください。"
        ) from error
    return data["result"] if path.startswith("query") else data


async def history(
    session: aiohttp.ClientSession, expression: str, began: float, ended: float
) -> list[tuple[float, float]]:
    """Seconds since the beginning, and values."""
    series = await ask(
        session,
        "query_range",
        query=expression,
        start=str(began),
        end=str(ended),
        step=str(STEP),
    )
    values = series[0]["values"] if series else []
    return [
        (round(at - began, 1), round(float(value), 4)) for at, value in values if value != "NaN"
    ]


def spans(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """From when to when there were values."""
    found: list[tuple[float, float]] = []
    for at, _ in points:
        if found and at - found[-1][1] <= 1.5 * STEP:
            found[-1] = (found[-1][0], at)
        else:
            found.append((at, at))
    return found


async def versions(compose: Compose) -> dict[str, str]:
    """Of what ran inside the app's container."""
    code = f"from importlib.metadata import version as v; print(*map(v, {PACKAGES!r}))"
    printed = await compose.run("exec", "-T", "app", "python", "-c", code)
    return dict(zip(PACKAGES, printed.split(), strict=True))


# -- showing -----------------------------------------------------------------------------------


def derived() -> dict[Path, str]:
    """What follows from the recorded JSON."""
    data = json.loads((FOLDER / "drill.json").read_text(encoding="utf-8"))
    return {
        FOLDER / "drill.txt": table(data),
        **{FOLDER / f"{name}.svg": picture(name, data) for name in CHARTS},
    }


def picture(name: str, data: Mapping[str, Any]) -> str:
    """One chart of the drill."""
    chart = CHARTS[name]
    lines = {
        label: [(at / 60, value) for at, value in points]
        for label, points in data["series"][name].items()
    }
    alarms = [(start / 60, end / 60) for start, end in data["alerts"].get(chart.alert, [])]
    made = plot.history(
        lines,
        title=chart.title,
        unit=chart.unit,
        description=told(lines, alarms, data["phases"]),
        minutes=data["seconds"] / 60,
        marks={p["mark"]: p["at"] / 60 for p in data["phases"] if p["mark"]},
        limit=chart.limit,
        alarms=alarms,
    )
    return re.sub(r"wl-plot-\d+", f"monitoring-{name}", made.svg) + "\n"


def told(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    alarms: Sequence[tuple[float, float]],
    phases: Sequence[Mapping[str, Any]],
) -> str:
    """The chart in words: the most of each line in each phase, and when the alarm rang."""
    starts = [phase["at"] / 60 for phase in phases]
    ends = [*starts[1:], float("inf")]
    words = []
    for label, points in lines.items():
        parts = []
        for phase, start, end in zip(phases, starts, ends, strict=True):
            values = [value for at, value in points if start <= at < end]
            name = phase["mark"] or "初め"
            parts.append(f"{name} {max(values):.1f}" if values else f"{name} なし")
        words.append(f"{label}の最大は、{'、'.join(parts)}。")
    words += [f"警報は {start:.1f} 分から {end:.1f} 分まで鳴った。" for start, end in alarms]
    return "".join(words)


def table(data: Mapping[str, Any]) -> str:
    """What was done, what the clients met, and which alert told."""
    lines = [
        "| したこと | 始めた（秒） | 2xx | 5xx | 答えなし |",
        "| --- | --- | --- | --- | --- |",
    ]
    for phase in data["phases"]:
        counts = (phase["counts"][key] for key in ("2xx", "5xx", "none"))
        name = f"{phase['mark']} {phase['name']}".strip()
        lines.append(f"| {name} | {phase['at']:.0f} | {' | '.join(map(str, counts))} |")
    lines += ["", "| 警報 | 鳴り始めた（秒） | 解けた（秒） |", "| --- | --- | --- |"]
    rang = [
        (start, end + STEP, alert)
        for alert, found in data["alerts"].items()
        for start, end in found
    ]
    lines += [f"| `{alert}` | {start:.0f} | {end:.0f} |" for start, end, alert in sorted(rang)]
    made = "、".join(f"{name} {version}" for name, version in data["versions"].items())
    day = dt.date.fromisoformat(data["recorded_on"])
    machine = data["machine"]
    return "\n".join(
        [
            *lines,
            "",
            f"{day} に、{machine['cpus']} CPU の {machine['system']} で記録しました"
            f"（{made}）。",
            "",
        ]
    )


def render() -> None:
    """Write what follows from the recorded JSON."""
    for path, text in derived().items():
        path.write_text(text, encoding="utf-8")


def main() -> None:
    """Drill, or only draw."""
    if sys.argv[1:] != ["render"]:
        try:
            data = asyncio.run(drill())
        except ServiceError as error:
            raise SystemExit(f"monitoring: {error}") from None
        FOLDER.mkdir(exist_ok=True)
        text = json.dumps(data, ensure_ascii=False, indent=1)
        (FOLDER / "drill.json").write_text(text + "\n", encoding="utf-8")
    render()


if __name__ == "__main__":
    main()
