"""The stacks as a stage: an experiment played against a running ``docker compose`` project.

The stack is the reader's: it must run already, and it goes on running afterwards. For the
experiment, its app is started anew with the one variant alone (``TOPICS``), and what this
variant has stored before is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from workerlab import experiment as experiments
from workerlab.catalog import ROOT
from workerlab.client import Client, WebSocket
from workerlab.errors import AppError, ServiceError, StartupError
from workerlab.experiment import Experiment, Result
from workerlab.postgres import counting
from workerlab.trace import Exchange, Trace

SERVICES = {"redis": "cache", "postgres": "db", "memcached": "memcached"}
"""What an experiment needs, and the service of the stack that gives it."""
CLEARED = frozenset({*SERVICES, "files"})
"""Needs that a stack has, and can empty."""
SET_BY_STACK = frozenset(
    {"SECRET_KEY", "PAYMENT_URL", "PAYMENT_TIMEOUT", "UVICORN_TIMEOUT_WORKER_HEALTHCHECK"}
)
"""Variables of `Experiment.environment` that the stack has values of its own for, or that only
a supervisor reads which no stack has (uvicorn's)."""
POLL = 0.1
STARTUP_TIMEOUT = 180.0
"""Seconds that the app of a stack gets to become healthy."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One of the three environments."""

    name: str
    """What ``--server`` calls it: ``"stack:dev"``."""
    port: int
    server: str
    """The key of `SERVERS` that is the same server."""

    @property
    def file(self) -> str:
        """The compose file, relative to the project's folder."""
        return f"docker-compose.{self.name.removeprefix('stack:')}.yml"


STACKS = {
    stack.name: stack
    for stack in (
        Stack(name="stack:dev", port=8020, server="uvicorn"),
        Stack(name="stack:stg", port=8030, server="gunicorn-uvicorn"),
        Stack(name="stack:prod", port=8040, server="gunicorn-uvicorn"),
    )
}


def why_not(experiment: Experiment, stack: Stack) -> str:
    """Why *experiment* can't be played on *stack*; empty when it can."""
    if not experiment.plays_on(stack.server):
        return f"この環境のサーバー（{stack.server}）では意味を持ちません"
    if experiment.options:
        return f"サーバーに {' '.join(experiment.options)} を渡す必要があります"
    if experiment.beside:
        return f"アプリの隣で動くプロセス（{experiment.beside[0].name}）が要ります"
    if missing := sorted(experiment.needs - CLEARED):
        return f"{'、'.join(missing)} が、実験ごとの設定で要ります"
    others = sorted(set(experiment.environment) - SET_BY_STACK)
    if others:
        return f"アプリに環境変数 {'、'.join(others)} を渡す必要があります"
    return ""


async def play(
    experiment: Experiment,
    variant: str,
    stack: Stack,
    *,
    startup_timeout: float = STARTUP_TIMEOUT,
    on_ready: Callable[[], None] | None = None,
    on_exchange: Callable[[Exchange], None] | None = None,
) -> tuple[Result, int]:
    """Play *experiment* against ``bad`` or ``good`` on a running stack, and judge.

    Returns:
        The result, and how many workers the stack runs.

    Raises:
        WorkerlabError: There is no result; the stack runs as before.
    """
    if reason := why_not(experiment, stack):
        raise AppError(f"{experiment.topic} は {stack.name} では動かせません。{reason}。")
    async with running(experiment, variant, stack, startup_timeout) as cluster:
        cluster.trace.on_exchange = on_exchange
        if on_ready is not None:
            on_ready()
        result = await experiments.run(experiment, cluster)
        return result, cluster.worker_count


@contextlib.asynccontextmanager
async def running(
    experiment: Experiment, variant: str, stack: Stack, startup_timeout: float
) -> AsyncIterator[ComposeCluster]:
    """The stack with one variant alone, empty of what that variant stored before."""
    compose = Compose(stack, startup_timeout)
    await compose.check()
    name = f"{experiment.topic}/{variant}"
    try:
        await compose.clear(name, experiment.needs)
        await compose.start_app(name)
        count = int(await compose.run("exec", "-T", "app", "printenv", "WEB_CONCURRENCY"))
        trace = Trace()
        async with Client(
            f"http://127.0.0.1:{stack.port}", trace, prefix=f"/topics/{name}"
        ) as client:
            cluster = ComposeCluster(compose, client, trace, count)
            await cluster.wait_until_ready()
            yield cluster
    finally:
        await compose.start_app("")


class Compose:
    """``docker compose`` for one stack, whose files lie in *folder*."""

    def __init__(self, stack: Stack, timeout: float, *, folder: Path = ROOT) -> None:
        self.stack = stack
        self.timeout = timeout
        self.folder = folder

    async def run(self, *arguments: str, **variables: str) -> str:
        """Run a command to its end, and return what it printed.

        Raises:
            ServiceError: Its status was not 0; the message ends with its last line.
        """
        process = await asyncio.create_subprocess_exec(
            *("docker", "compose", "--file", self.stack.file, "--ansi", "never", *arguments),
            cwd=self.folder,
            env={**os.environ, **variables},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            lines = err.decode(errors="replace").strip().splitlines() or ["出力なし"]
            raise ServiceError(
                f"docker compose {arguments[0]}（{self.stack.file}）が失敗しました"
                f"（{lines[-1].strip()}）。docker compose --file {self.stack.file} ps で"
                "様子を確かめてください。"
            )
        return out.decode(errors="replace").strip()

    async def check(self) -> None:
        """Raise unless Docker is here and the stack runs."""
        if shutil.which("docker") is None:
            raise ServiceError(
                "docker コマンドが見つかりません。Docker を入れるか、--server を"
                "付けずに実行してください。"
            )
        running = await self.run("ps", "--services", "--status", "running")
        if not {"app", *SERVICES.values()} <= set(running.split()):
            raise ServiceError(
                f"{self.stack.name} が起動していません。先に起動してください（docker compose "
                f"--file {self.stack.file} up --build --detach --wait）。"
            )

    async def clear(self, name: str, needs: frozenset[str]) -> None:
        """Stop the app, and empty what the variant *name* needs of the stack."""
        await self.run("stop", "app")
        schema = name.replace("/", "_")
        commands = {
            "redis": ("exec", "-T", "cache", "valkey-cli", "FLUSHALL"),
            "memcached": ("restart", "memcached"),
            "postgres": (
                *("exec", "-T", "db", "psql", "--username=app", "--quiet", "--command"),
                f"DROP SCHEMA IF EXISTS {schema}, public CASCADE; CREATE SCHEMA public",
            ),
            "files": ("run", "--rm", "--no-deps", "-T", "app", "rm", "-rf", f"/data/{name}"),
        }
        for need in sorted(needs):
            await self.run(*commands[need])

    async def start_app(self, topics: str) -> None:
        """Start the app anew with *topics* alone; empty: with all of them."""
        await self.run(
            *("up", "--detach", "--no-deps", "--wait", "--wait-timeout"),
            *(str(int(self.timeout)), "app"),
            TOPICS=topics,
        )


class ComposeCluster:
    """See `workerlab.cluster.Cluster`; the worker ids are those inside the container."""

    def __init__(
        self, compose: Compose, client: Client, trace: Trace, worker_count: int
    ) -> None:
        self.trace = trace
        self.worker_count = worker_count
        self._compose = compose
        self._client = client

    async def wait_until_ready(self) -> None:
        """Return when all workers are on the roll, and the variant has started.

        Raises:
            StartupError: Time ran out, or the variant could not start.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._compose.timeout
        while len(await self.workers()) < self.worker_count:
            if loop.time() > deadline:
                raise StartupError(
                    f"{self._compose.timeout:g} 秒待っても {self.worker_count} 個のワーカーが"
                    "そろいませんでした。docker compose --file "
                    f"{self._compose.stack.file} logs app で理由を確かめてください。"
                )
            await asyncio.sleep(POLL)

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
        """See `workerlab.cluster.Cluster.request`."""
        return await self._client.request(
            method,
            path,
            step=step,
            json=json,
            headers=headers,
            value=value,
            timeout=timeout,
        )

    def kept_connection(self) -> Client:
        """See `workerlab.cluster.Cluster.kept_connection`."""
        client = self._client
        return Client(client.base_url, self.trace, keep_alive=True, prefix=client.prefix)

    def websocket(
        self, path: str, *, step: str, timeout: float = 10.0
    ) -> contextlib.AbstractAsyncContextManager[WebSocket]:
        """See `workerlab.cluster.Cluster.websocket`."""
        return self._client.websocket(path, step=step, timeout=timeout)

    async def workers(self) -> list[int]:
        """See `workerlab.cluster.Cluster.workers`."""
        timeout = aiohttp.ClientTimeout(total=30)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{self._client.base_url}/whoami") as response,
            ):
                return list((await response.json())["workers"])
        except (aiohttp.ClientError, OSError, TimeoutError, json.JSONDecodeError):
            return []

    async def kill(self, worker: int) -> None:
        """See `workerlab.cluster.Cluster.kill`."""
        self.trace.note("worker_killed", worker=worker, detail="kill -9")
        await self._signal("KILL", worker)

    async def pause(self, worker: int) -> None:
        """See `workerlab.cluster.Cluster.pause`."""
        self.trace.note("worker_paused", worker=worker, detail="SIGSTOP")
        await self._signal("STOP", worker)

    async def resume(self, worker: int) -> None:
        """See `workerlab.cluster.Cluster.resume`."""
        self.trace.note("worker_resumed", worker=worker, detail="SIGCONT")
        await self._signal("CONT", worker)

    async def pause_supervisor(self) -> None:
        """See `workerlab.cluster.Cluster.pause_supervisor`."""
        self.trace.note("supervisor_paused", detail="SIGSTOP")
        await self._signal("STOP", await self._supervisor())

    async def resume_supervisor(self) -> None:
        """See `workerlab.cluster.Cluster.resume_supervisor`."""
        self.trace.note("supervisor_resumed", detail="SIGCONT")
        await self._signal("CONT", await self._supervisor())

    async def restart(self, environment: Mapping[str, str] | None = None) -> None:
        """See `workerlab.cluster.Cluster.restart`."""
        if environment is not None:
            raise AppError("この環境では、環境変数を変えて起動し直す実験は動かせません。")
        await self._compose.run("restart", "app")
        await self.wait_until_ready()
        self.trace.note("server_restarted")

    async def deploy(self, environment: Mapping[str, str]) -> int | None:
        """Not here: the settings of a stack stand in its file."""
        raise AppError("この環境では、デプロイの実験は動かせません。")

    async def execute(self, *command: str) -> int:
        """Not here: it belongs to the end of a server."""
        raise AppError("この環境では、サーバーを止める実験は動かせません。")

    async def stop(self, *, grace: float) -> int:
        """Not here: the grace of a stack stands in its file."""
        raise AppError("この環境では、サーバーを止める実験は動かせません。")

    async def read_log(self, service: str) -> list[str]:
        """Not here: no service of a stack has a log of its own."""
        raise AppError("この環境では、サービスのログを読む実験は動かせません。")

    async def measure(self, service: str, quantity: str) -> float:
        """See `workerlab.cluster.Cluster.measure`."""
        assert service == "postgres", service
        value = float(
            await self._compose.run(
                *("exec", "-T", "db", "psql", "--username=app", "-tAc"), counting(quantity)
            )
        )
        self.trace.note("measured", detail=f"{service}.{quantity}", value=value)
        return value

    async def stop_service(self, name: str) -> None:
        """See `workerlab.cluster.Cluster.stop_service`."""
        await self._compose.run("stop", SERVICES[name])
        self.trace.note("service_stopped", detail=name)

    async def start_service(self, name: str) -> None:
        """See `workerlab.cluster.Cluster.start_service`."""
        await self._compose.run("up", "--detach", "--no-deps", "--wait", SERVICES[name])
        self.trace.note("service_started", detail=name)

    async def pause_service(self, name: str) -> None:
        """See `workerlab.cluster.Cluster.pause_service`."""
        await self._compose.run("pause", SERVICES[name])
        self.trace.note("service_paused", detail=name)

    async def resume_service(self, name: str) -> None:
        """See `workerlab.cluster.Cluster.resume_service`."""
        await self._compose.run("unpause", SERVICES[name])
        self.trace.note("service_resumed", detail=name)

    async def _signal(self, name: str, process: int) -> None:
        await self._compose.run("exec", "-T", "app", "sh", "-c", f"kill -s {name} {process}")

    async def _supervisor(self) -> int:
        """The only child of the container's init."""
        children = await self._compose.run(
            "exec", "-T", "app", "cat", "/proc/1/task/1/children"
        )
        return int(children.split()[0])
