"""The workflow that publishes the site: pinned, with least rights, the same build as ours."""

import re
from typing import Any

import pytest
import yaml

from workerlab.catalog import ROOT

PATH = ROOT / ".github" / "workflows" / "pages.yml"
WORKFLOW: dict[str, Any] = yaml.load(PATH.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def test_every_action_is_pinned_by_commit() -> None:
    """Forty hex digits, and the version that they are in a comment."""
    uses = re.findall(r"uses: (.+)", PATH.read_text(encoding="utf-8"))
    assert len(uses) == sum("uses" in step for step in STEPS) >= 5
    for line in uses:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_rights_are_the_least() -> None:
    """None by default; reading to build; only the job without our code may publish."""
    assert WORKFLOW["permissions"] == {}
    rights = {name: job["permissions"] for name, job in WORKFLOW["jobs"].items()}
    assert rights == {
        "build": {"contents": "read", "pages": "read"},
        "deploy": {"pages": "write", "id-token": "write"},
    }
    assert [step for step in WORKFLOW["jobs"]["deploy"]["steps"] if "run" in step] == []
    (checkout,) = (step for step in STEPS if "checkout" in step.get("uses", ""))
    assert checkout["with"]["persist-credentials"] == "false"


def test_only_main_is_published() -> None:
    """No pull request runs it, so nobody else's code gets the rights."""
    assert WORKFLOW["on"] == {"push": {"branches": ["main"]}, "workflow_dispatch": ""}


def test_site_is_built_as_at_home() -> None:
    """``make site``, told only where it will stand; what it makes is uploaded."""
    (build,) = (step for step in STEPS if step.get("name") == "Build")
    assert build["run"] == "make site"
    assert list(build["env"]) == ["SITE_URL"]
    (upload,) = (step for step in STEPS if "upload-pages-artifact" in step.get("uses", ""))
    assert upload["with"] == {"path": "site"}


@pytest.mark.parametrize("step", [s for s in STEPS if "run" in s], ids=lambda s: s["run"])
def test_no_expression_stands_in_a_shell_command(step: dict[str, Any]) -> None:
    """What GitHub fills in reaches the shell through the environment only."""
    assert "${{" not in step["run"]
