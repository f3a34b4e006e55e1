"""The contract of a topic: bad fails, good holds, every fake fails, drills end as stated."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib.util
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
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

ANY = "gunicorn-uvicorn"
"""For statements that are true of all servers: the one that costs least to start."""
TRIES = 3
"""How often a play may end without a result, as the command's status 2 asks the reader to."""
PREIMPORTED = Path(__file__).with_name("preimported.py")
MEMORY = {"memory_per_worker"}
"""Topics that a library imported before the fork would change."""


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


def rotated_fakes(slug: str) -> list[tuple[str, str]]:
    """Each fake with one server, in turn; the one that the page shows with uvicorn.

    For topics in which the server changes nothing for a fake: bad.py, which fails in the same
    way, runs on all of them.
    """
    return list(zip(reversed(fakes(slug)), itertools.cycle(SERVERS), strict=False))


def rotated_drills(slug: str) -> list[tuple[str, str]]:
    """Each drill with one server that forks; its transcript runs with uvicorn."""
    forking = [server for server in SERVERS if server.startswith("gunicorn")]
    return list(zip(drills(slug), itertools.cycle(forking), strict=False))


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
    played = _preimporting(experiment or topic.experiment, server)
    for _ in range(TRIES):
        result = asyncio.run(
            stage.play(played, paths.get(app) or topic.app(app), server=server, workers=workers)
        )
        if result.conclusive:
            break
        print(f"no result, only {result.trace.workers} answered: played again")
    assert result.conclusive, f"{TRIES} times, only {result.trace.workers} answered"
    known = topic.experiment if experiment is None else topic.drills.get(experiment.drill)
    if known is (experiment or known):
        runs.keep(known, paths.get(app, app), result, server=server, workers=workers)
    return result


def _preimporting(experiment: Experiment, server: str) -> Experiment:
    """The experiment, with the libraries imported before gunicorn forks."""
    configured = any(option.startswith("--config") for option in experiment.options)
    if not server.startswith("gunicorn") or configured or experiment.topic in MEMORY:
        return experiment
    return dataclasses.replace(
        experiment, options=(f"--config={PREIMPORTED}", *experiment.options)
    )


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
