"""What docs/stacks/monitoring.md says; its drill is drawn again, not repeated."""

import json
import re

import pytest
import yaml

from tools import monitoring
from workerlab.catalog import ROOT

PAGE = (ROOT / "docs" / "stacks" / "monitoring.md").read_text(encoding="utf-8")
DRILL = json.loads((monitoring.FOLDER / "drill.json").read_text(encoding="utf-8"))
RULES = yaml.safe_load((ROOT / "monitoring" / "alerts.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", monitoring.derived(), ids=lambda path: path.name)
def test_shown_is_what_was_recorded(path: object) -> None:
    """Pictures and table follow from the recorded JSON; the page includes each."""
    made = {file: text for file, text in monitoring.derived().items() if file == path}
    for file, text in made.items():
        assert file.read_text(encoding="utf-8") == text
        assert f'"monitoring/{file.name}"' in PAGE


def test_charts_are_of_the_rules() -> None:
    """Each alert has its chart, and the chart's line across is the rule's threshold."""
    rules = {rule["alert"]: rule["expr"] for rule in RULES["groups"][0]["rules"]}
    assert set(rules) == set(monitoring.ALERTS)
    assert monitoring.CHARTS["errors"].limit == ("しきい値 5 %", 5)
    assert "> 0.05" in rules["ErrorRatio"]
    assert monitoring.CHARTS["workers"].limit == ("しきい値 3 回", 3)
    assert ">= 3" in rules["WorkerRestarts"]
    for alert in rules:
        assert f"- **`{alert}`**" in PAGE


def test_each_disturbance_rang_its_alert() -> None:
    """In the recorded drill; each alert ended, and one rang again without a new error."""
    _, killed, valkey, stopped = (phase["at"] for phase in DRILL["phases"])
    ((restarts, _),) = DRILL["alerts"]["WorkerRestarts"]
    (errors, _), (again, _) = DRILL["alerts"]["ErrorRatio"]
    ((down, _),) = DRILL["alerts"]["AppDown"]
    assert killed < restarts < valkey + 60
    assert valkey < errors < stopped < again < down
    for spans in DRILL["alerts"].values():
        assert spans[-1][1] + monitoring.STEP < DRILL["seconds"]


def test_clients_met_what_no_alert_counts() -> None:
    """Requests without an answer are no 5xx, and the dead workers were hardly missed."""
    quiet, killed, valkey, stopped = (phase["counts"] for phase in DRILL["phases"])
    assert quiet["5xx"] == quiet["none"] == 0
    assert killed["5xx"] == 0
    assert valkey["5xx"] > 0
    assert stopped["none"] > 0
    assert stopped["5xx"] == 0


def test_numbers_of_the_page_are_those_of_the_files() -> None:
    """The version that is pinned, and how often Prometheus reads."""
    compose = (ROOT / "docker-compose.prod.yml").read_text(encoding="utf-8")
    assert "image: prom/prometheus:v2.53.3" in compose
    assert "試した 2.53.3 に固定" in PAGE
    assert DRILL["versions"]["Prometheus"] == "2.53.3"
    config = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text("utf-8"))
    assert config["global"] == {"scrape_interval": "15s", "evaluation_interval": "15s"}
    assert "次に読みに来るまでの 15 秒" in PAGE


def test_numbers_to_watch_are_those_of_the_app() -> None:
    """Every series of the table is one that main.py makes."""
    app = (ROOT / "examples" / "main.py").read_text(encoding="utf-8")
    named = set(re.findall(r"^\|.*\| .*?`(\w+)", PAGE, re.MULTILINE)) | {"worker_deaths_total"}
    assert len(named) == 5
    for name in named:
        assert f'"{name}"' in app, name
