"""Recordings: what pages show follows from real runs, and a fresh run agrees."""

import asyncio
import datetime as dt
import json
import re
from pathlib import Path

import pytest
import runners

import contract
import runs
from workerlab import recording, services, stage
from workerlab.catalog import ROOT, VARIANTS, Topic, topics
from workerlab.experiment import judge
from workerlab.servers import SERVERS
from workerlab.trace import Trace

DERIVED = [(t, p) for t in topics() for p in recording.derived(t)]
TRANSCRIPTS = [(t, name) for t in topics() for name in recording.commands(t)]
ASKS_UNTIL_FULL = {
    ("blocked_event_loop", "run-threads_full.txt"),
    ("cache_stampede", "run-holder_killed.txt"),  # some requests die with the worker
    *(
        ("memory_per_worker", f"run-{name}.txt")  # until every worker has answered
        for name in ("bad", "good", "fake", "preload", "overwritten", "replaced")
    ),
    *(
        ("keepalive_race", f"run-{name}.txt")  # until the order is saved
        for name in ("bad", "good", "fake", "deploy")
    ),
    ("metrics_flicker", "run-busy_workers_killed.txt"),
    ("process_local_lock", "run-holder_killed.txt"),  # asks until the invoice is in the making
    ("process_local_lock", "run-lock_lost.txt"),
    ("duplicate_scheduler", "run-owner_paused.txt"),
    ("retry_storm", "run-good.txt"),
    ("retry_storm", "run-budget_spent.txt"),
    *(  # until the service that came back is asked again
        ("fallback", f"run-{name}.txt")
        for name in ("bad", "good", "fake", "cold_worker", "too_old")
    ),
    *(  # connects until each worker has as many clients as the others
        ("websocket_broadcast", f"run-{name}.txt")
        for name in ("bad", "good", "fake", "come_back", "redis_stopped", "slow_client")
    ),
    *(("graceful_shutdown", f"run-{run}.txt") for run in ("bad", "good", "fake", "no_hook")),
}
"""Sends as many requests as it takes, another number each time."""
each_topic = pytest.mark.parametrize("topic", topics(), ids=lambda topic: topic.slug)


def slug(value: object) -> str | None:
    if isinstance(value, Topic):
        return value.slug
    return value.name if isinstance(value, Path) else None


@pytest.mark.parametrize(("topic", "path"), DERIVED, ids=slug)
def test_derived_file_is_current(topic: Topic, path: Path) -> None:
    """Pictures, tables and diffs are what the recorded JSON and the examples give today."""
    wanted = recording.derived(topic)[path]
    assert path.read_text(encoding="utf-8") == wanted, f"make record {topic.slug}"


@each_topic
@pytest.mark.parametrize("variant", VARIANTS)
def test_recorded_verdict_follows_from_the_recorded_trace(topic: Topic, variant: str) -> None:
    """The verdict was not typed in: judging the recorded trace gives it again."""
    data = json.loads(recording.Paths(topic=topic).trace(variant).read_text("utf-8"))
    again = judge(topic.experiment, Trace.from_dict(data["trace"])).to_dict()
    assert again["invariants"] == data["invariants"]
    assert again["pids"] == data["pids"]
    assert data["holds"] is (variant == "good")
    kinds = [event["kind"] for event in data["trace"]["events"]]
    starts = 1 + kinds.count("server_restarted")
    most = recording.WORKERS * starts + kinds.count("worker_killed")
    assert recording.WORKERS <= len(data["pids"]) <= most


@each_topic
def test_recording_was_made_with_the_pinned_versions(topic: Topic) -> None:
    """After an upgrade the recordings are made anew, so that pages name what runs here."""
    contract.skip_if_missing(topic.slug)
    summary = json.loads(recording.Paths(topic=topic).summary.read_text("utf-8"))
    machine = {"python", *services.SERVER_VERSIONS}
    needs = topic.experiment.needs
    assert set(summary["versions"]) == set(stage.versions(needs))
    for name, pinned in stage.versions(needs).items():
        assert name in machine or summary["versions"][name] == pinned, name
    assert dt.date.fromisoformat(summary["recorded_on"]) <= dt.datetime.now(dt.UTC).date()


TYPED = {"in_memory_counter", "memcached_counter", "oversell", "file_append", "worker_crash"}
"""Each kind of service, and none: there the command itself is run, not only its report."""


@pytest.mark.parametrize(("topic", "name"), TRANSCRIPTS, ids=lambda v: getattr(v, "slug", v))
def test_transcript_repeats(topic: Topic, name: str) -> None:
    """Typing the command again prints the same, except for what a race decides.

    A few topics' good version is typed; the others print what this session's runs showed.
    """
    contract.skip_if_missing(topic.slug)
    path = recording.Paths(topic=topic).included(name)
    recorded = path.read_text(encoding="utf-8")
    command, status = recording.commands(topic)[name]
    assert recorded.startswith(f"$ {command}\n")
    server = next(filter(topic.experiment.plays_on, SERVERS))
    fresh = None
    if name != "run-good.txt" or topic.slug not in TYPED:
        fresh = runs.transcript(command, status=status, server=server)
    if fresh is None:
        fresh = asyncio.run(recording.transcript(command, status=status))
    assert runners.normalise(fresh) == runners.normalise(recorded)
    assert runners.agree(fresh, recorded)
    if (topic.slug, name) not in ASKS_UNTIL_FULL:
        assert runners.shares(fresh) == runners.shares(recorded)


def test_environment_table_is_current() -> None:
    """The page 「検証環境」 lists every topic as it was recorded."""
    assert recording.ENVIRONMENT.read_text("utf-8") == recording.environment_table(topics())


@each_topic
def test_picture_is_small_and_free_of_colour_codes_only(topic: Topic) -> None:
    """At most 40 kB each, with lanes, title and description."""
    for variant in VARIANTS:
        paths = recording.Paths(topic=topic)
        text = paths.picture(variant).read_text("utf-8")
        assert len(text) < 40_000
        pids = json.loads(paths.trace(variant).read_text("utf-8"))["pids"]
        assert text.count('class="wl-lane"') == len(pids)
        assert "<title" in text
        assert "<desc" in text
        assert not re.search(r"https?://(?!www\.w3\.org)", text)


MEASURED = {
    "how_many_workers": "sweep",
    "choose_a_server": "conformance",
    "stacks": "stacks",
    "drills": "drills",
}
"""Folders of general pages, and the tool that writes each."""


def test_only_cells_lie_among_the_recordings_of_notebooks() -> None:
    """One file for each cell that showed something, and the day; none of a cell that went."""
    for folder in (recording.FOLDER / "notebooks").iterdir():
        notebook = json.loads((ROOT / "notebooks" / f"{folder.name}.ipynb").read_text("utf-8"))
        cells = {f"{c['id']}.txt" for c in notebook["cells"] if c["cell_type"] == "code"}
        found = {path.name for path in folder.iterdir()}
        assert "recorded.json" in found
        assert found - {"recorded.json"} <= cells, folder


def test_only_recordings_lie_among_the_recordings() -> None:
    """No file there that nothing writes."""
    for folder, tool in MEASURED.items():
        source = (ROOT / "tools" / f"{tool}.py").read_text(encoding="utf-8")
        assert f'"{folder}"' in source
        for path in (recording.FOLDER / folder).iterdir():
            assert path.stem in source, path
    written = {
        path
        for topic in topics()
        for paths in [recording.Paths(topic=topic)]
        for path in [
            paths.summary,
            *(paths.trace(v) for v in VARIANTS),
            *recording.derived(topic),
            *(paths.included(name) for name in recording.commands(topic)),
        ]
    }
    found = {
        *(
            path
            for path in recording.FOLDER.rglob("*")
            if path.is_file()
            and path.parent.name not in MEASURED
            and path.parent.parent.name != "notebooks"
        ),
        *(ROOT / "examples").glob("*/recorded/*"),
    }
    assert found == written
