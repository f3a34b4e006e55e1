"""What an experiment may do to a running app, whatever stage it runs on.

Real processes, containers and the reader's browser each implement `Cluster`; an experiment
knows nothing else. Standard library only: runs in Pyodide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from workerlab.trace import Exchange, Trace

WORKER_HEADER = "x-worker-pid"
"""Response header with the process id of the worker, set by the stage and not by the app."""


class Requester(Protocol):
    """Something that sends requests: a cluster, or one connection to it."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        step: str,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        value: str | None = None,
        timeout: float = 10.0,
    ) -> Exchange:
        """Send one request and record the exchange.

        Args:
            step: Name of this part of the traffic, for `Trace.step`.
            value: Key of the JSON answer whose number goes into `Exchange.value`; or, when
                the answer is text, the name of a metric in Prometheus's format.
            timeout: Seconds until the exchange counts as unanswered.

        Returns:
            The exchange; a broken connection is an exchange without status, not an error.
        """
        ...


class WebSocket(Protocol):
    """One open WebSocket; it stays with the worker that accepted it."""

    opened: Exchange
    """The handshake: status 101 when accepted, else the server's answer."""

    close_code: int | None
    """Why it ended (1000, 1012, 1006 for a broken connection …), once `receive` has come to
    the end; ``None`` before."""

    async def send(self, text: str) -> None:
        """Send one text message; does nothing when the other side has closed."""
        ...

    async def receive(
        self, *, step: str, value: str | None = None, timeout: float = 10.0
    ) -> Exchange | None:
        """Wait for one message and record it, as an exchange of no duration.

        Nothing is read before it is asked for: who doesn't call this is a slow client.

        Args:
            value: As in `Requester.request`.

        Returns:
            The exchange, its `Exchange.body` the decoded JSON or else the text; ``None``
            when the connection has ended or *timeout* seconds have passed.
        """
        ...


class Cluster(Requester, Protocol):
    """A running app with several workers; each request takes a *new* connection.

    An experiment that needs ``"nginx"`` talks to nginx, which stands in front of the workers.

    A kept connection stays with one worker and hides the faults of this site: an experiment
    that is about it asks for one by name (`kept_connection`).

    The owner of the ``with`` block that made it also ends it: afterwards no process and no
    socket of it is left.
    """

    trace: Trace
    """Everything that was sent so far; the cluster writes, the experiment reads."""

    def kept_connection(self) -> AbstractAsyncContextManager[Requester]:
        """One client that keeps its connection open between requests (keep-alive).

        Its requests go one after another; when the other side has closed, the next one opens
        a new connection, as HTTP clients do. It ends with its ``async with`` block.
        """
        ...

    def websocket(
        self, path: str, *, step: str, timeout: float = 10.0
    ) -> AbstractAsyncContextManager[WebSocket]:
        """One WebSocket, closed when its ``async with`` block ends.

        Args:
            step: Name of the handshake in the trace.
            timeout: Seconds that the handshake may take.
        """
        ...

    async def workers(self) -> list[int]:
        """Process ids of the workers that are ready to serve now, in ascending order."""
        ...

    async def kill(self, worker: int) -> None:
        """End *worker* at once (SIGKILL); the supervisor may start another."""
        ...

    async def pause(self, worker: int) -> None:
        """Freeze *worker* (SIGSTOP): it keeps its sockets and its locks, and does nothing."""
        ...

    async def resume(self, worker: int) -> None:
        """Let a paused *worker* go on (SIGCONT), unaware of the time that has passed."""
        ...

    async def pause_supervisor(self) -> None:
        """Freeze the parent of the workers (SIGSTOP); they go on without it.

        uvicorn's supervisor kills, and gunicorn's arbiter too, a *worker* that is paused for
        longer than its time limit (5 and 30 seconds); a paused parent can't.
        """
        ...

    async def resume_supervisor(self) -> None:
        """Let the paused parent go on (SIGCONT)."""
        ...

    async def restart(self, environment: Mapping[str, str] | None = None) -> None:
        """Stop the whole server and start it anew on the same address, as a deployment does.

        Services keep running. The new workers have new process ids.

        Args:
            environment: Replaces `Experiment.environment`; ``None`` keeps what it was.

        Raises:
            StartupError: The server did not come back.
        """
        ...

    async def deploy(self, environment: Mapping[str, str]) -> int | None:
        """Check the app with new settings, then restart the server with them.

        That is what a release script does: ``python -m package.module`` runs the app's own
        file as a command; when that fails, the running server is left alone. Otherwise the
        server is stopped and started anew, and the script waits for what becomes of it. A
        failed start is not an error here: nobody serves then, until the next `deploy`.

        Events ``"measured"`` are recorded: ``deploy.status`` is what is returned, and
        ``deploy.started`` counts the worker processes that were started with *environment*.

        Returns:
            The status that the script sees: that of the check, or of a server that ended; 0
            once all workers are ready; ``None`` when the server neither serves nor ends,
            though each worker was started twice: the script gives up, and stops it.

        Raises:
            StartupError: The check did not end in time.
        """
        ...

    async def execute(self, *command: str) -> int:
        """Run a command where the server runs, with its variables, as a container's hook does.

        Kubernetes runs such a command before it stops a container (``preStop``).

        Returns:
            Its exit status.
        """
        ...

    async def stop(self, *, grace: float) -> int:
        """Ask the server to end, and force it when *grace* is over.

        That is what ``docker stop`` and Kubernetes do: SIGTERM to the first process; SIGKILL
        to all that is left when the first process has ended, or when time is over.

        Recorded are ``"worker_stopping"`` for each worker, ``"worker_killed"`` for each
        process that needed SIGKILL, and events ``"measured"``: ``stop.killed`` counts these,
        the supervisor among them; ``stop.finished`` counts the workers whose lifespan came to
        its end. Nobody serves until `restart`.

        Args:
            grace: Seconds, counted in short turns of this process: a machine that has too
                much to do gives the server more of them, as it gives this process fewer.

        Returns:
            The exit status of the first process; negative: the signal that ended it.
        """
        ...

    async def measure(self, service: str, quantity: str) -> float:
        """Ask a service for a number, and record it as an event ``"measured"``.

        Args:
            quantity: What the service knows; PostgreSQL: ``"backends"``,
                ``"idle_in_transaction"``, ``"waiting"`` (for a lock); nginx: ``"kept"`` and
                ``"closing"`` (connections to the workers).
        """
        ...

    async def stop_service(self, name: str) -> None:
        """Stop a service that the experiment needs (``"redis"``), keeping its files.

        A process that runs beside the server has a name here too, and is killed.

        Raises:
            ServiceError: This stage does not own the service (a ``REDIS_URL`` of the user).
        """
        ...

    async def start_service(self, name: str) -> None:
        """Start a stopped service again and wait until it answers."""
        ...

    async def pause_service(self, name: str) -> None:
        """Freeze a service (SIGSTOP): its sockets go on receiving, unread."""
        ...

    async def resume_service(self, name: str) -> None:
        """Let a paused service go on (SIGCONT)."""
        ...

    async def read_log(self, service: str) -> list[str]:
        """What a service has written about errors; each line is also an event ``"logged"``."""
        ...


async def burst(
    cluster: Requester,
    count: int,
    method: str,
    path: str,
    *,
    step: str,
    concurrency: int = 8,
    json: Any = None,
    headers: Mapping[str, str] | None = None,
    value: str | None = None,
    timeout: float = 10.0,
) -> list[Exchange]:
    """Send *count* equal requests, *concurrency* at a time, each over a new connection.

    Returns:
        The exchanges in the order in which they finished.
    """
    remaining = iter(range(count))
    finished: list[Exchange] = []

    async def client() -> None:
        for _ in remaining:
            finished.append(
                await cluster.request(
                    method,
                    path,
                    step=step,
                    json=json,
                    headers=headers,
                    value=value,
                    timeout=timeout,
                )
            )

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, count)):
            group.create_task(client())
    return finished
