"""What a notebook uses: one `Lab`, which starts real servers and stops whatever it started.

Everything is awaited at the top level of a cell. ``await lab.close()`` in the last cell ends
all servers; when a cell failed, the kernel was interrupted, or somebody closes the kernel
instead, the exit handler of the process does it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from workerlab import catalog, services, stage
from workerlab.cluster import Cluster
from workerlab.errors import AppError, WorkerlabError
from workerlab.experiment import Experiment
from workerlab.processes import ProcessCluster
from workerlab.results import Closed, Look, Run, answers
from workerlab.trace import Trace

if TYPE_CHECKING:
    from workerlab.plot import Span

__all__ = [
    "Closed",
    "Lab",
    "Look",
    "Missing",
    "Run",
    "answers",
    "cpu_seconds",
    "lock_spans",
    "look",
    "memory_megabytes",
]

FEWEST, MOST = 4, 8
STARTUP_TIMEOUT = 300.0
"""Seconds; a notebook runs on whatever machine the reader has."""
HOW_TO_GET = {
    "postgres": (
        "PostgreSQL がありません。Debian と Ubuntu では sudo apt install postgresql、"
        "macOS では brew install postgresql で入ります。"
    ),
    "memcached": (
        "Memcached がありません。Debian と Ubuntu では sudo apt install memcached、"
        "macOS では brew install memcached で入ります。"
    ),
}
LOOK_SECONDS = 0.02


async def _silence(cluster: Cluster) -> None:
    """No traffic: cells send their own."""


NOTHING = Experiment(topic="", title="", traffic=_silence, requests=0, invariants=())


class Missing(WorkerlabError):
    """The machine lacks a service; shown as one line, not as a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"ここで止まります。{self}入れてから、初めから動かしてください。"]


class Lab:
    """Starts servers, and stops them: at the latest when the kernel ends.

    Args:
        workers: How many workers a server gets when a cell does not say; default: as many as
            there are CPUs, but at least `FEWEST` and at most `MOST`.
        server: A key of `workerlab.servers.SERVERS`.
    """

    def __init__(self, *, workers: int | None = None, server: str = "uvicorn") -> None:
        self.workers = workers or max(FEWEST, min(MOST, os.cpu_count() or FEWEST))
        self.server = server
        self._stack = contextlib.AsyncExitStack()
        self._stages: list[stage.Stage] = []
        atexit.register(self._end)

    async def run(
        self,
        topic: str,
        app: str = "bad",
        *,
        workers: int | None = None,
        drill: str = "",
        watch_lock: str = "",
    ) -> Run:
        """Start a server, play the topic's experiment, stop the server, and judge.

        Args:
            app: ``"bad"``, ``"good"``, the name of a fake, or the path of a ``.py`` file.
            drill: Name of a fault to inject instead.
            watch_lock: Key of a lock in Redis; `lock_spans` tells who held it when.

        Raises:
            WorkerlabError: There is no result; nothing of this run is left running.
        """
        found = catalog.find(topic)
        experiment = found.drill(drill) if drill else found.experiment
        workers = workers or self.workers
        async with contextlib.AsyncExitStack() as stack:
            opened = await self._open(stack, experiment, _app(found, app), workers)
            if watch_lock:
                await stack.enter_async_context(_watching(opened, watch_lock))
            result = await opened.play(experiment)
        return Run(result=result, app=app, server=self.server, workers=workers)

    async def open(
        self,
        topic: str,
        app: str = "bad",
        *,
        workers: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ProcessCluster:
        """Start a server that runs until `close`; cells send requests to it.

        Args:
            app: As in `run`.
            environment: Variables for the app, beside those of the experiment.
        """
        found = catalog.find(topic)
        experiment = dataclasses.replace(
            found.experiment,
            environment={**found.experiment.environment, **(environment or {})},
        )
        opened = await self._open(
            self._stack, experiment, _app(found, app), workers or self.workers
        )
        return opened.cluster

    async def serve(self, path: str, *, workers: int | None = None) -> ProcessCluster:
        """Start any app that needs no services; it runs until `close`.

        Args:
            path: A ``.py`` file with ``app``, seen from the project's folder.
        """
        app = catalog.app_from_file(catalog.ROOT / path)
        opened = await self._open(self._stack, NOTHING, app, workers or self.workers)
        return opened.cluster

    async def close(self) -> Closed:
        """Stop every server that is open; may be called again, and after any failure."""
        servers = len(self._stages)
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        try:
            await stack.aclose()
        finally:
            self._end()
        return Closed(servers=servers)

    def require(self, topic: str) -> None:
        """Nothing, when this machine has what *topic* needs.

        Raises:
            Missing: It lacks something; the notebook stops here, and says how to get it.
        """
        lacking = services.missing(catalog.find(topic).experiment.needs)
        if lacking:
            raise Missing("".join(HOW_TO_GET[need] for need in lacking))

    async def _open(
        self,
        stack: contextlib.AsyncExitStack,
        experiment: Experiment,
        app: str,
        workers: int,
    ) -> stage.Stage:
        opened = await stack.enter_async_context(
            stage.opened(
                experiment,
                app,
                server=self.server,
                workers=workers,
                startup_timeout=STARTUP_TIMEOUT,
            )
        )
        self._stages.append(opened)
        stack.callback(self._stages.remove, opened)
        return opened

    def _end(self) -> None:
        """Stop without an event loop what is still open."""
        for each in self._stages:
            each.end()


def look(cluster: ProcessCluster, title: str, *, expected: float | None = None) -> Look:
    """Draw what *cluster* was asked so far."""
    return Look(trace=cluster.trace, title=title, expected=expected)


def lock_spans(trace: Trace, *, row: str) -> list[Span]:
    """When the lock that `Lab.run` watched was held, a span for each time it was taken.

    It was taken anew when it appeared, or when its remaining time grew.
    """
    from workerlab.plot import Span

    found: list[Span] = []
    left = 0.0
    for event in trace.events:
        if event.kind != "lock" or event.value is None:
            continue
        if event.value > left:
            found.append(Span(row=row, start=event.at, end=event.at))
        elif left > 0:
            found[-1] = dataclasses.replace(found[-1], end=event.at)
        left = event.value
    return found


@contextlib.asynccontextmanager
async def _watching(opened: stage.Stage, key: str) -> AsyncIterator[None]:
    """Note the remaining time of *key* in Redis, again and again, until the block ends."""
    task = asyncio.create_task(_watch(opened, key))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(opened: stage.Stage, key: str) -> None:
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    async with Redis.from_url(opened.services["redis"].env["REDIS_URL"]) as store:
        while True:
            with contextlib.suppress(RedisError, OSError):  # an experiment may stop it
                left = await store.pttl(key)
                opened.cluster.trace.note("lock", detail=key, value=max(left, 0))
            await asyncio.sleep(LOOK_SECONDS)


def cpu_seconds(cluster: ProcessCluster) -> float:
    """CPU time that the server's processes have used since they started."""
    times = [process.cpu_times() for process in _processes(cluster)]
    return sum(each.user + each.system for each in times)


def memory_megabytes(cluster: ProcessCluster) -> float:
    """Memory of the server's processes; what they share is counted once (PSS, on Linux)."""
    infos = [process.memory_full_info() for process in _processes(cluster)]
    return sum(getattr(info, "pss", info.uss) for info in infos) / 1e6


def _processes(cluster: ProcessCluster) -> list[psutil.Process]:
    parent = psutil.Process(cluster.supervisor)
    return [parent, *parent.children(recursive=True)]


def _app(topic: catalog.Topic, app: str) -> str:
    if app in catalog.VARIANTS:
        return topic.app(app)
    fakes = {fake.name: str(fake.path) for fake in topic.fakes}
    if app in fakes:
        return fakes[app]
    if not app.endswith(".py"):
        known = "、".join([*catalog.VARIANTS, *fakes])
        raise AppError(
            f"{app} という版はありません。{known} か、.py ファイルを指定してください。"
        )
    return catalog.app_from_file(Path(app))
