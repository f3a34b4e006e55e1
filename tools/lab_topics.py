"""Write what the lab shows of each topic: ``docs/assets/lab/topics/<slug>{,.run}.json``.

Run it after the runtime was built: it writes down how many bytes that has.
Run with ``.venv/bin/python tools/lab_topics.py``; quick, and writes only what changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from workerlab.catalog import ROOT, VARIANTS, Topic, topics
from workerlab.experiment import Experiment

LAB = ROOT / "docs" / "assets" / "lab"
FOLDER = LAB / "topics"
STAGE = Path(__file__).with_name("lab_experiment.py")
"""Imports the topic's experiment and allows for lost requests."""
RUNTIME = ("wasm", "extension", "loader", "glue", "engine")
"""Roles of the runtime's files that every run loads, beside the snapshot."""
HAS = frozenset({"redis"})
"""What the lab has for an experiment."""
LACKS = {
    "files": "共有のファイル",
    "postgres": "PostgreSQL",
    "memcached": "Memcached",
    "nginx": "nginx",
    "beside": "別のプロセス",
    "options": "サーバーの設定",
    "pause": "ワーカーの一時停止",
    "pause_supervisor": "親プロセスの一時停止",
    "kept_connection": "使い回す接続",
    "measure": "データベースの計測",
}
"""What it has not: needs, fields of an experiment, methods of the cluster."""


def before_run(topic: Topic) -> dict[str, Any]:
    """What the page's lab shows of *topic* before a run; small, since every reader loads it."""
    experiment = topic.experiment
    files = {variant: lesson(topic.folder / f"{variant}.py") for variant in VARIANTS}
    return {
        "slug": topic.slug,
        "title": experiment.title,
        "version": version(files),
        "files": files,
        "needs": needs(topic),
        "drills": [[name, *offer(topic, drill)] for name, drill in topic.drills.items()],
        "invariants": invariants(experiment),
        "recorded": recorded(topic),
        "runtime": runtime_bytes(),
    }


def invariants(experiment: Experiment) -> list[dict[str, str]]:
    """The rows of the table."""
    return [
        {"name": i.name, "label": i.label, "requirement": i.requirement}
        for i in experiment.invariants
    ]


def needs(topic: Topic, experiment: Experiment | None = None) -> list[str]:
    """What *experiment* (the topic's own, or a drill) wants of a stage.

    Files count only when the lesson's own versions use them: fakes are not in the lab.
    """
    wanted = set((experiment or topic.experiment).needs)
    sources = (path.read_text(encoding="utf-8") for path in topic.folder.glob("*.py"))
    if not any("DATA_DIR" in source for source in sources):
        wanted.discard("files")
    return sorted(wanted)


def offer(topic: Topic, drill: Experiment) -> tuple[str, bool]:
    """How the lab names a drill, and whether it can play it; if not, the name says why."""
    lacking = lacks(topic, drill)
    if not lacking:
        return drill.title, True
    reasons = "、".join(LACKS.get(name, name) for name in lacking)
    return f"{drill.title}（{reasons}が要るため、ここでは動きません）", False


def lacks(topic: Topic, experiment: Experiment) -> list[str]:
    """What *experiment* uses and the lab has not, as keys of `LACKS`."""
    fields = {field for field in ("beside", "options") if getattr(experiment, field)}
    methods = LACKS.keys() & set(used_names(experiment.traffic))
    return sorted((fields | methods | set(needs(topic, experiment))) - HAS)


def used_names(function: Any) -> Iterator[str]:
    """Names that *function* uses, and the functions of its module that it calls."""
    seen: set[FunctionType] = set()
    waiting = [function]
    while waiting:
        current = waiting.pop()
        if not isinstance(current, FunctionType) or current in seen:
            continue
        seen.add(current)
        names = list(names_in(current.__code__))
        yield from names
        waiting += [current.__globals__[name] for name in names if name in current.__globals__]


def names_in(code: CodeType) -> Iterator[str]:
    """Names in a code object and those within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def for_run(topic: Topic) -> dict[str, Any]:
    """What only a run of *topic* needs."""
    return {
        "files": {
            "experiment": (topic.folder / "experiment.py").read_text(encoding="utf-8"),
            "stage": STAGE.read_text(encoding="utf-8"),
        },
        "plans": {
            "": plan(topic, topic.experiment),
            **{name: plan(topic, drill) for name, drill in topic.drills.items()},
        },
    }


def plan(topic: Topic, experiment: Experiment) -> dict[str, Any]:
    """One experiment, as a run of it is shown."""
    return {
        "title": experiment.title,
        "requests": experiment.requests,
        "line": experiment.expected_value,
        "environment": bool(experiment.environment),
        "whys": {i.name: i.why for i in experiment.invariants},
        "invariants": invariants(experiment),
        "recorded": recorded(topic, experiment.drill),
    }


def lesson(path: Path) -> str:
    """A file as the page shows it: without the marks that pages cut regions by."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if "--8<--" not in line).rstrip() + "\n"


def version(files: dict[str, str]) -> str:
    """Changes when the lesson does; kept with the reader's edit."""
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()[:12]


def runtime_bytes() -> int | None:
    """Bytes over the wire of a first run, with gzip; ``None`` when nothing was built."""
    path = LAB / "runtime" / "manifest.json"
    if not path.is_file():
        return None
    manifest = json.loads(path.read_text(encoding="utf-8"))
    roles = (*RUNTIME, manifest["images"]["base"]["snapshot"])
    return sum(manifest["files"][role]["gzip"] for role in roles)


def recorded(topic: Topic, drill: str = "") -> dict[str, Any] | None:
    """The recorded verdicts by variant; ``None`` when nothing was recorded yet."""
    path = ROOT / "docs" / "assets" / "recordings" / topic.slug / "summary.json"
    if not path.is_file():
        return None
    summary = json.loads(path.read_text(encoding="utf-8"))
    server = f"drill:{drill}" if drill else "uvicorn"
    runs = {run["app"]: run for run in summary["runs"] if run["server"] == server}
    return {
        "workers": summary["workers"],
        **{
            variant: {
                verdict["name"]: [verdict["observed"], verdict["holds"]]
                for verdict in runs[variant]["invariants"]
            }
            for variant in VARIANTS
            if variant in runs
        },
    }


def main() -> None:
    """Write every topic, and remove files of topics that are gone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted: dict[Path, str] = {}
    for topic in topics():
        for name, data in (
            (topic.slug, before_run(topic)),
            (f"{topic.slug}.run", for_run(topic)),
        ):
            text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
            wanted[FOLDER / f"{name}.json"] = text
    for path in FOLDER.glob("*.json"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
