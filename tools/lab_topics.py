"""Write what the lab shows of each topic: ``docs/assets/lab/topics/<slug>{,.run}.json``.

Run it after the runtime was built: it writes down how many bytes that has.
Run with ``.venv/bin/python tools/lab_topics.py``; quick, and writes only what changed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from workerlab.catalog import ROOT, VARIANTS, Topic, topics

LAB = ROOT / "docs" / "assets" / "lab"
FOLDER = LAB / "topics"
STAGE = Path(__file__).with_name("lab_experiment.py")
"""Imports the topic's experiment and allows for lost requests."""
RUNTIME = ("wasm", "extension", "loader", "glue", "engine")
"""Roles of the runtime's files that every run loads, beside the snapshot."""


def before_run(topic: Topic) -> dict[str, Any]:
    """What the page's lab shows of *topic* before a run; small, since every reader loads it."""
    experiment = topic.experiment
    files = {variant: lesson(topic.folder / f"{variant}.py") for variant in VARIANTS}
    return {
        "slug": topic.slug,
        "title": experiment.title,
        "version": version(files),
        "files": files,
        "needs": sorted(experiment.needs),
        "invariants": [
            {"name": i.name, "label": i.label, "requirement": i.requirement}
            for i in experiment.invariants
        ],
        "recorded": recorded(topic),
        "runtime": runtime_bytes(),
    }


def for_run(topic: Topic) -> dict[str, Any]:
    """What only a run of *topic* needs."""
    experiment = topic.experiment
    return {
        "files": {
            "experiment": (topic.folder / "experiment.py").read_text(encoding="utf-8"),
            "stage": STAGE.read_text(encoding="utf-8"),
        },
        "requests": experiment.requests,
        "line": experiment.expected_value,
        "whys": {i.name: i.why for i in experiment.invariants},
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


def recorded(topic: Topic) -> dict[str, Any] | None:
    """The recorded verdicts by variant; ``None`` when nothing was recorded yet."""
    path = ROOT / "docs" / "assets" / "recordings" / topic.slug / "summary.json"
    if not path.is_file():
        return None
    summary = json.loads(path.read_text(encoding="utf-8"))
    runs = {run["app"]: run for run in summary["runs"] if run["server"] == "uvicorn"}
    return {
        "workers": summary["workers"],
        **{
            variant: {
                verdict["name"]: [verdict["observed"], verdict["holds"]]
                for verdict in runs[variant]["invariants"]
            }
            for variant in VARIANTS
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
