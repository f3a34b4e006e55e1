"""Notebooks that need PostgreSQL are skipped, saying so, where there is none."""

import pytest

from workerlab.services import missing

NEED_POSTGRES = {"connection_budget", "races_and_transactions"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if missing(frozenset({"postgres"})):
        reason = pytest.mark.skip(reason="PostgreSQL がありません（make test-all が入れます）")
        for item in items:
            if item.path.suffix == ".ipynb" and item.path.stem in NEED_POSTGRES:
                item.add_marker(reason)
