"""The command line's good days: what it prints, its status, its JSON and its picture."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from helpers import APPS, workerlab
from workerlab.catalog import topics
from workerlab.servers import SERVERS
from workerlab.trace import Trace

TOPIC = "in_memory_counter"


@pytest.mark.parametrize(("variant", "status"), [("bad", 1), ("good", 0)])
def test_status_is_the_verdict(variant: str, status: int) -> None:
    """0 when all invariants hold, 1 when one is violated; nothing is left."""
    command = workerlab("run", TOPIC, "--variant", variant, "--workers", "4")
    done = command.run()
    assert (done.returncode, done.stderr) == (status, "")
    assert ("× 破れた" in done.stdout) == (status == 1)
    assert "4 個のワーカーが応答しました" in done.stdout
    command.assert_nothing_left()


@pytest.mark.parametrize("server", SERVERS)
def test_json_is_one_document(server: str, tmp_path: Path) -> None:
    """It holds what a reader needs to check the verdict, trace included."""
    picture = tmp_path / "run.svg"
    arguments = ("run", TOPIC, "--server", server, "--workers", "3", "--json")
    done = workerlab(*arguments, "--svg", str(picture)).run()
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert document["topic"] == TOPIC
    assert (document["server"], document["workers"]) == (server, 3)
    assert document["versions"]["fastapi"] == "0.165.0"
    assert len(document["pids"]) == 3
    assert [i["name"] for i in document["invariants"] if not i["holds"]] == [
        "last_read",
        "different_numbers",
    ]
    assert len(Trace.from_dict(document["trace"]).exchanges) == 1001
    svg = ET.parse(picture).getroot()
    assert len(svg.findall("{*}g[@class='wl-lane']")) == 3


def test_list_names_every_topic() -> None:
    """For people and for programs."""
    document = json.loads(workerlab("list", "--json").run().stdout)
    assert [row["topic"] for row in document] == [topic.slug for topic in topics()]
    assert TOPIC in workerlab("list").run().stdout


@pytest.mark.parametrize("app", ["raw_asgi.py", "silent_lifespan.py"])
def test_app_without_lifespan_is_accepted_by_the_engine(app: str) -> None:
    """A raw ASGI callable starts; that it does not count is the experiment's verdict."""
    done = workerlab("run", TOPIC, "--workers", "2", "--app", str(APPS / app)).run()
    assert done.returncode == 1, done.stderr
