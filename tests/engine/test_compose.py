"""``--server stack:…`` before any container is touched; tests/stacks has the rest."""

import sys
from pathlib import Path

import pytest

from helpers import assert_one_line_error, workerlab
from workerlab import catalog
from workerlab.catalog import ROOT
from workerlab.compose import STACKS, why_not

each_stack = pytest.mark.parametrize("name", STACKS)


@each_stack
def test_stack_names_its_file(name: str) -> None:
    """The file is there and publishes the port."""
    stack = STACKS[name]
    text = (ROOT / stack.file).read_text(encoding="utf-8")
    assert f'"127.0.0.1:{stack.port}:8000"' in text


@pytest.mark.parametrize("option", [("--workers", "2"), ("--app", "examples/main.py")])
def test_stack_decides_what_is_in_its_file(option: tuple[str, str]) -> None:
    """The option and the file that decides are named."""
    done = workerlab("run", "in_memory_counter", "--server", "stack:prod", *option).run()
    assert_one_line_error(done, option[0], "docker-compose.prod.yml")


def test_missing_docker_is_told_in_one_line() -> None:
    """The command is not on PATH."""
    command = workerlab(
        *("run", "in_memory_counter", "--server", "stack:dev"),
        env={"PATH": str(Path(sys.executable).parent)},
    )
    assert_one_line_error(command.run(), "docker コマンドが見つかりません")


def test_unplayable_experiment_says_why() -> None:
    """A process beside the app, an option of the server, a variable of the app."""
    stack = STACKS["stack:prod"]
    reasons = {
        "background_task_loss": "アプリの隣で動くプロセス",
        "shared_db_connection": "",
        "in_memory_counter": "",
    }
    for slug, reason in reasons.items():
        found = why_not(catalog.find(slug).experiment, stack)
        assert reason in found
        assert bool(reason) is bool(found)
    drills = catalog.find("shared_db_connection").drills.values()
    assert any("--preload" in why_not(drill, stack) for drill in drills)
    drills = catalog.find("rate_limit_per_worker").drills.values()
    assert all("WHEN_REDIS_IS_DOWN" in why_not(drill, stack) for drill in drills)


def test_unplayable_experiment_ends_with_status_2() -> None:
    """In one line, before anything is started or stopped."""
    done = workerlab("run", "background_task_loss", "--server", "stack:stg").run()
    assert_one_line_error(done, "background_task_loss", "stack:stg", "queue")
