"""The workflows: pinned, with least rights; one publishes our build, one audits it."""

import re
from typing import Any

import pytest
import yaml

from workerlab.catalog import ROOT

WORKFLOWS: dict[str, dict[str, Any]] = {
    path.stem: yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    for path in (ROOT / ".github" / "workflows").glob("*.yml")
}


def steps_of(name: str) -> list[dict[str, Any]]:
    """Every step of every job of a workflow."""
    return [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"]]


WORKFLOW = WORKFLOWS["pages"]
STEPS = steps_of("pages")
AUDIT = WORKFLOWS["audit"]
RUNS = [step for name in WORKFLOWS for step in steps_of(name) if "run" in step]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_by_commit(name: str) -> None:
    """Forty hex digits, and the version that they are in a comment."""
    path = ROOT / ".github" / "workflows" / f"{name}.yml"
    uses = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert len(uses) == sum("uses" in step for step in steps_of(name)) >= 4
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


def test_audit_covers_every_lock_file() -> None:
    """pip-audit reads each requirements.txt with hashes, npm each package-lock.json.

    --strict: a package about which the service says nothing would else pass for sound.
    """
    commands = [step["run"] for step in steps_of("audit") if "run" in step]
    python = [run.split() for run in commands if run.startswith("pip-audit")]
    assert {run[-1] for run in python} == {"requirements.txt", "tools/lab/requirements.txt"}
    for run in python:
        assert {"--strict", "--require-hashes", "--disable-pip"} <= set(run)
        assert "--hash=sha256:" in (ROOT / run[-1]).read_text(encoding="utf-8")
    audited = set(
        re.findall(r"npm audit --package-lock-only --prefix (\S+)", "\n".join(commands))
    )
    locked = {
        p.parent.relative_to(ROOT).as_posix() for p in ROOT.glob("tools/*/package-lock.json")
    }
    assert audited == locked


def test_audit_may_only_read() -> None:
    """On main, each week and by hand; no pull request runs it, nothing can be written."""
    assert AUDIT["permissions"] == {}
    rights = [job["permissions"] for job in AUDIT["jobs"].values()]
    assert rights == [{"contents": "read"}] * 2
    assert set(AUDIT["on"]) == {"push", "schedule", "workflow_dispatch"}


@pytest.mark.parametrize("step", RUNS, ids=lambda step: step["run"][:60])
def test_no_expression_stands_in_a_shell_command(step: dict[str, Any]) -> None:
    """What GitHub fills in reaches the shell through the environment only."""
    assert "${{" not in step["run"]
