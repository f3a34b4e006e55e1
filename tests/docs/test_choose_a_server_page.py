"""The table of docs/workers/choose_a_server.md: asked anew, the servers answer the same."""

import asyncio
import json
from importlib.metadata import version

import pytest

from tools import conformance
from tools.conformance import COLUMNS, FOLDER, ROUGH, GranianCluster, Server
from workerlab.catalog import ROOT

RECORDED = json.loads((FOLDER / "conformance.json").read_text(encoding="utf-8"))
PAGE = ROOT / "docs" / "workers" / "choose_a_server.md"
each_server = pytest.mark.parametrize("name", COLUMNS)


def test_table_is_what_was_recorded() -> None:
    """Nobody typed into it."""
    shown = (FOLDER / "conformance.txt").read_text(encoding="utf-8")
    assert shown == conformance.table(RECORDED)
    assert all(f"{row} |" in shown for row in (*conformance.ROUGH, *conformance.GENTLE))


def test_table_is_of_the_installed_versions() -> None:
    """Another pin means asking again: `tools/conformance.py`."""
    recorded = {n: v for n, v in RECORDED["versions"].items() if n != "Python"}
    assert recorded == {name: version(name) for name in recorded}


@each_server
def test_server_answers_gentle_questions_as_recorded(name: str) -> None:
    """WebSocket, a client that leaves, X-Forwarded-For, and what SIGTERM does to a task."""
    seen = asyncio.run(conformance.gently(COLUMNS[name]))
    assert seen == {row: RECORDED["columns"][name][row] for row in seen}


@each_server
@pytest.mark.parametrize("row", ["import の失敗", "lifespan の失敗"])
def test_failing_start_ends_as_recorded(name: str, row: str) -> None:
    """With an exit status, or not at all; gunicorn's is 3 or, now and then, 1."""
    seen = asyncio.run(ROUGH[row](COLUMNS[name]))
    if name.startswith("gunicorn"):
        seen = seen.replace("終了コード 1", "終了コード 3")
    assert seen == RECORDED["columns"][name][row]


@pytest.mark.parametrize("name", ["granian", "alone"])
def test_killed_worker_ends_as_recorded(name: str) -> None:
    """The other servers' supervisors are shown at work in test_worker_crash.py."""
    row = "ワーカーへの `kill -9`"
    assert asyncio.run(ROUGH[row](COLUMNS[name])) == RECORDED["columns"][name][row]


def test_granian_replaces_a_killed_worker_when_told_to() -> None:
    """--respawn-failed-workers, which is off by default."""

    class Respawning(GranianCluster):
        def command(self, fd: int) -> list[str]:
            return [*super().command(fd), "--respawn-failed-workers"]

    seen = asyncio.run(conformance.killed_worker(Server(Respawning, "granian")))
    assert seen == RECORDED["columns"]["uvicorn"]["ワーカーへの `kill -9`"]
