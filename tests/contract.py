"""The contract of a topic: bad fails, good holds, every fake fails, drills end as stated."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator
from types import ModuleType

import httpx2
import pytest

import runs
from workerlab import catalog, stage
from workerlab.experiment import Experiment, Result
from workerlab.servers import SERVERS
from workerlab.services import missing

FOUR = [(server, 4) for server in SERVERS]
"""Every server, with four workers: enough where the number of workers changes nothing."""


def skip_if_missing(slug: str) -> None:
    """Skip a topic's tests, saying so, where this machine lacks what the topic needs."""
    lacking = missing(catalog.find(slug).experiment.needs)
    if lacking:
        pytest.skip(f"{slug}: {'、'.join(lacking)} がありません（make test-all が入れます）")


def fakes(slug: str) -> list[str]:
    """The names of a topic's fakes."""
    return [fake.name for fake in catalog.find(slug).fakes]


def drills(slug: str) -> list[str]:
    """The names of a topic's drills."""
    return list(catalog.find(slug).drills)


def play(
    slug: str, app: str, server: str, workers: int, experiment: Experiment | None = None
) -> Result:
    """Play the topic's experiment; a result that proves nothing is a failure here.

    Args:
        app: ``"bad"``, ``"good"``, or the name of a fake.
    """
    skip_if_missing(slug)
    topic = catalog.find(slug)
    paths = {fake.name: str(fake.path) for fake in topic.fakes}
    result = asyncio.run(
        stage.play(
            experiment or topic.experiment,
            paths.get(app) or topic.app(app),
            server=server,
            workers=workers,
        )
    )
    assert result.conclusive, f"only {result.trace.workers} answered"
    known = topic.experiment if experiment is None else topic.drills.get(experiment.drill)
    if known is (experiment or known):
        runs.keep(known, paths.get(app, app), result, server=server, workers=workers)
    return result


def broken(result: Result) -> set[str]:
    """The names of the invariants that do not hold."""
    return {verdict.invariant.name for verdict in result.verdicts if not verdict.holds}


@contextlib.asynccontextmanager
async def good_here(
    slug: str, monkeypatch: pytest.MonkeyPatch, **environment: str
) -> AsyncIterator[tuple[ModuleType, httpx2.AsyncClient]]:
    """The topic's good.py in this process, for faults that no experiment can cause over HTTP.

    Args:
        environment: Variables that the module reads when it is imported.
    """
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    path = catalog.find(slug).folder / "good.py"
    spec = importlib.util.spec_from_file_location("good_in_process", path)
    assert spec is not None
    assert spec.loader is not None
    good = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(good)
    async with (
        good.app.router.lifespan_context(good.app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=good.app), base_url="http://good"
        ) as client,
    ):
        yield good, client
