"""Order the tests, and say at the end which groups were left out, and how to run them."""

import os
import sys

import pytest

import runs

# Some machines forbid it, and each of thousands of processes would compile our modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

GROUPS = {
    "browser": "ブラウザーの実物（Chromium）が要るテスト",
    "docker": "Docker が要るテスト",
    "clone": "新しいクローンで README のコマンドを打つテスト（.ci/run が実行）",
}
LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_OUT] = {}
    if not hasattr(config, "workerinput"):  # not one of xdist's processes
        runs.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        runs.end()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Transcripts come last: by then most of their runs have been made."""
    items.sort(key=lambda item: item.name.startswith("test_transcript_repeats"))


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        counts = item.config.stash[LEFT_OUT]
        for group in GROUPS:
            if item.get_closest_marker(group):
                counts[group] = counts.get(group, 0) + 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out = terminalreporter.config.stash[LEFT_OUT]
    if not left_out:
        return
    terminalreporter.section("実行しなかったテスト")
    for group, count in left_out.items():
        terminalreporter.write_line(f"  {count:4d} 件  {GROUPS[group]}")
    terminalreporter.write_line("すべて実行するには: make test-all")
