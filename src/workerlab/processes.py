"""Clusters of real worker processes on this machine, on 127.0.0.1.

`ProcessCluster` owns one server: it binds the socket first and hands it over, waits until
every worker has reported, watches the supervisor while the traffic runs, and at the end no
process of the group is left, also after an exception or Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import psutil

from workerlab import probe
from workerlab.client import Client, WebSocket
from workerlab.errors import StartupError, TrafficError
from workerlab.guardian import guard, release
from workerlab.service import Service
from workerlab.trace import Exchange, Trace

POLL = 0.02
"""Seconds between two looks at the reports; only waiting, nothing is measured with it."""
WATCH = 0.2
"""Seconds between two looks while the traffic runs: it shares the event loop."""
RUNTIME_VARIABLE = "RUNTIME_DIRECTORY"
"""Names a folder that is empty at every start and shared by the workers, as systemd's
``RuntimeDirectory=`` does."""
TRIES = 2
"""How often each worker is started before `ProcessCluster.deploy` calls it endless."""
STOP_TIMEOUT = 10.0
"""Seconds that a supervisor gets after SIGTERM before its whole group is killed."""


class ProcessCluster(ABC):
    """A server with several worker processes; use as an ``async with`` block.

    Args:
        app: ``"package.module:app"`` or the path of a ``.py`` file that has ``app``.
        workers: How many worker processes the server is told to run; at least 1.
        services: By name; their settings go to the server, and an experiment may stop and
            start them. Their owner is the caller.
        options: More arguments for the server's command line.
        environment: Variables for the app; those of a service win.
        proxy: Name of the service that stands in front of the workers, and its configuration.
        cwd: Working directory of the server, importable by it.
        startup_timeout: Seconds from launch until every worker has reported.

    Raises:
        StartupError: On entering: a worker failed, the server ended, or time ran out.
    """

    name: ClassVar[str]
    """What ``--server`` calls it."""

    def __init__(
        self,
        app: str,
        *,
        workers: int = 2,
        services: Mapping[str, Service] | None = None,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        proxy: tuple[str, str] | None = None,
        cwd: Path | None = None,
        startup_timeout: float = 60.0,
    ) -> None:
        self.app = app
        self.worker_count = workers
        self.trace = Trace()
        self.options = tuple(options)
        self._services = dict(services or {})
        self._variables = dict(environment or {})
        self._proxy = proxy
        self._cwd = cwd or Path.cwd()
        self._startup_timeout = startup_timeout
        self._stack = contextlib.AsyncExitStack()
        self._restarting = False
        self.port = 0
        """The port on 127.0.0.1; 0 until the kernel has given one, then it stays."""
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self, fd: int) -> Sequence[str]:
        """The server's command line; it listens on the inherited descriptor *fd*."""

    # -- life ---------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            home = tempfile.TemporaryDirectory(prefix="workerlab-")
            self._home = Path(self._stack.enter_context(home))
            self._launch()
            self._stack.callback(self._stop)
            await self._wait_until_ready()
            port = await self._public_port()
            self.trace = Trace()  # time zero is when the workers are ready
            self._client = await self._stack.enter_async_context(
                Client(f"http://127.0.0.1:{port}", self.trace)
            )
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _public_port(self) -> int:
        """The port that clients talk to, once the proxy, if any, serves there."""
        if self._proxy is None:
            return self.port
        name, configuration = self._proxy
        proxy = self._services[name]
        return await asyncio.to_thread(proxy.put_in_front, self.port, configuration)

    def _launch(self) -> None:
        self._reports = Path(tempfile.mkdtemp(prefix="reports-", dir=self._home))
        self._runtime = tempfile.mkdtemp(prefix="runtime-", dir=self._home)
        self._log = self._home / "server.log"
        with (
            socket.create_server(("127.0.0.1", self.port), backlog=2048) as listener,
            self._log.open("ab") as log,
        ):
            self.port = listener.getsockname()[1]
            self._process = subprocess.Popen(
                self.command(listener.fileno()),
                pass_fds=[listener.fileno()],
                cwd=self._cwd,
                env=self._environment(self._variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its own group: Ctrl-C reaches us, we stop it
            )
        guard(self._process.pid)

    def _environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        path = os.pathsep.join(
            part for part in (str(self._cwd), os.environ.get("PYTHONPATH")) if part
        )
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("UVICORN_", "GUNICORN_")) and key != "WEB_CONCURRENCY"
        }  # a setting of the user's shell would change the experiment
        return {
            **inherited,
            "PYTHONPATH": path,
            "WEB_CONCURRENCY": str(self.worker_count),  # --workers does not reach the app
            RUNTIME_VARIABLE: self._runtime,
            **variables,
            **{k: v for s in self._services.values() for k, v in s.env.items()},
            probe.APP_VARIABLE: self.app,
            probe.REPORTS_VARIABLE: str(self._reports),
        }

    async def _wait_until_ready(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._startup_timeout
        while len(await self.workers()) < self.worker_count:
            self._raise_if_failed()
            if loop.time() > deadline:
                raise StartupError(
                    f"{self._startup_timeout:g} 秒待っても {self.worker_count} 個の"
                    f"ワーカーのうち {len(await self.workers())} 個しか準備が"
                    "できませんでした。lifespan が終わるかを確かめるか、"
                    f"--startup-timeout を延ばしてください{self._log_hint()}。"
                )
            await asyncio.sleep(POLL)

    def _raise_if_failed(self) -> None:
        for report in self._read_reports().values():
            if report["state"] == "failed":
                raise StartupError(
                    f"ワーカーが起動できませんでした: {self.app}: {report['error']}。"
                    "アプリのこの箇所を直して、もう一度実行してください。"
                )
        code = self._supervisor.poll()
        if code is not None:
            raise StartupError(
                f"サーバー（{self.name}）が準備の途中で終了しました"
                f"（終了コード {code}）{self._log_hint()}。"
            )

    def _stop(self) -> None:
        """End the whole group: SIGTERM to the supervisor, SIGKILL to whoever is left."""
        process = self._supervisor
        group = process.pid
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            os.killpg(group, signal.SIGCONT)  # a paused process can't obey
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            pass
        finally:
            kill_group(group)
            process.wait()
            release(process.pid)

    def end(self) -> None:
        """Stop the server now, without an event loop; leaving the block later does no harm."""
        if self._process is not None:
            self._stop()

    # -- what an experiment may do --------------------------------------------------------

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
        return Client(self._client.base_url, self.trace, keep_alive=True)

    def websocket(
        self, path: str, *, step: str, timeout: float = 10.0
    ) -> contextlib.AbstractAsyncContextManager[WebSocket]:
        """See `workerlab.cluster.Cluster.websocket`."""
        return self._client.websocket(path, step=step, timeout=timeout)

    async def workers(self) -> list[int]:
        """See `workerlab.cluster.Cluster.workers`."""
        return sorted(
            pid
            for pid, report in self._read_reports().items()
            if report["state"] == "ready" and _is_running(pid)
        )

    async def kill(self, worker: int) -> None:
        """See `workerlab.cluster.Cluster.kill`."""
        self.trace.note("worker_killed", worker=worker, detail="kill -9")
        os.kill(worker, signal.SIGKILL)

    async def pause(self, worker: int) -> None:
        """See `workerlab.cluster.Cluster.pause`."""
        self.trace.note("worker_paused", worker=worker, detail="SIGSTOP")
        os.kill(worker, signal.SIGSTOP)

    async def resume(self, worker: int) -> None:
        """See `workerlab.cluster.Cluster.resume`."""
        self.trace.note("worker_resumed", worker=worker, detail="SIGCONT")
        os.kill(worker, signal.SIGCONT)

    async def pause_supervisor(self) -> None:
        """See `workerlab.cluster.Cluster.pause_supervisor`."""
        self.trace.note("supervisor_paused", detail="SIGSTOP")
        os.kill(self.supervisor, signal.SIGSTOP)

    async def resume_supervisor(self) -> None:
        """See `workerlab.cluster.Cluster.resume_supervisor`."""
        self.trace.note("supervisor_resumed", detail="SIGCONT")
        os.kill(self.supervisor, signal.SIGCONT)

    async def restart(self, environment: Mapping[str, str] | None = None) -> None:
        """See `workerlab.cluster.Cluster.restart`."""
        self._restarting = True
        await asyncio.to_thread(self._stop)
        if environment is not None:
            self._variables = dict(environment)
        self._launch()
        await self._wait_until_ready()
        self._restarting = False
        self.trace.note("server_restarted")

    async def deploy(self, environment: Mapping[str, str]) -> int | None:
        """See `workerlab.cluster.Cluster.deploy`."""
        status: int | None = await self._check(environment)
        started = 0
        if status == 0:
            self._restarting = True
            await asyncio.to_thread(self._stop)
            self._variables = dict(environment)
            self._launch()
            status = await self._wait_until_decided()
            started = len(self._read_reports())
            if status is None:
                await asyncio.to_thread(self._stop)
            elif status == 0 and self._supervisor.poll() is None:
                self._restarting = False
                self.trace.note("server_restarted")
        self.trace.note("measured", detail="deploy.status", value=status)
        self.trace.note("measured", detail="deploy.started", value=started)
        return status

    async def _check(self, environment: Mapping[str, str]) -> int:
        """Run the app's file as a command; return its status."""
        module = [self.app] if self.app.endswith(".py") else ["-m", self.app.split(":")[0]]
        with self._log.open("ab") as log:
            check = await asyncio.create_subprocess_exec(
                *(sys.executable, *module),
                cwd=self._cwd,
                env=self._environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        guard(check.pid)
        try:
            async with asyncio.timeout(self._startup_timeout):
                return await check.wait()
        except TimeoutError:
            raise StartupError(
                f"デプロイの前の点検が {self._startup_timeout:g} 秒待っても終わりませんでした: "
                f"python {' '.join(module)}。ファイルを実行すると終わるようにしてください。"
            ) from None
        finally:
            if check.returncode is None:
                check.kill()
                await check.wait()
            release(check.pid)

    async def _wait_until_decided(self) -> int | None:
        """Return 0 once all workers are ready, the status of a server that ended, or None."""
        loop = asyncio.get_running_loop()
        started, last = 0, loop.time()
        while len(await self.workers()) < self.worker_count:
            status = self._supervisor.poll()
            if status is not None:
                return status
            if len(self._read_reports()) > started:
                started, last = len(self._read_reports()), loop.time()
            stuck = loop.time() > last + self._startup_timeout
            if stuck or started >= TRIES * self.worker_count:
                return None
            await asyncio.sleep(POLL)
        return 0

    async def execute(self, *command: str) -> int:
        """See `workerlab.cluster.Cluster.execute`."""
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self._cwd,
                env=self._environment(self._variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        guard(process.pid)
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            release(process.pid)

    async def stop(self, *, grace: float) -> int:
        """See `workerlab.cluster.Cluster.stop`."""
        self._restarting = True
        workers = await self.workers()
        for worker in workers:
            self.trace.note("worker_stopping", worker=worker, detail="SIGTERM")
        self._supervisor.send_signal(signal.SIGTERM)
        for _ in range(round(grace / POLL)):
            if self._supervisor.poll() is not None:
                break
            await asyncio.sleep(POLL)
        killed = [pid for pid in (self.supervisor, *workers) if _is_running(pid)]
        await asyncio.to_thread(kill_group, self.supervisor)
        status = await asyncio.to_thread(self._supervisor.wait)
        release(self.supervisor)
        for worker in killed:
            self.trace.note("worker_killed", worker=worker, detail="SIGKILL")
        states = [report["state"] for report in self._read_reports().values()]
        self.trace.note("measured", detail="stop.killed", value=len(killed))
        self.trace.note("measured", detail="stop.finished", value=states.count("stopped"))
        return status

    async def measure(self, service: str, quantity: str) -> float:
        """See `workerlab.cluster.Cluster.measure`."""
        value = await asyncio.to_thread(self._services[service].measure, quantity)
        self.trace.note("measured", detail=f"{service}.{quantity}", value=value)
        return value

    async def stop_service(self, name: str) -> None:
        """See `workerlab.cluster.Cluster.stop_service`."""
        await asyncio.to_thread(self._services[name].stop)
        self.trace.note("service_stopped", detail=name)

    async def start_service(self, name: str) -> None:
        """See `workerlab.cluster.Cluster.start_service`."""
        await asyncio.to_thread(self._services[name].start)
        self.trace.note("service_started", detail=name)

    async def pause_service(self, name: str) -> None:
        """See `workerlab.cluster.Cluster.pause_service`."""
        await asyncio.to_thread(self._services[name].pause)
        self.trace.note("service_paused", detail=name)

    async def resume_service(self, name: str) -> None:
        """See `workerlab.cluster.Cluster.resume_service`."""
        self._services[name].resume()
        self.trace.note("service_resumed", detail=name)

    async def read_log(self, service: str) -> list[str]:
        """See `workerlab.cluster.Cluster.read_log`."""
        lines = await asyncio.to_thread(self._services[service].log)
        for line in lines:
            self.trace.note("logged", detail=line)
        return lines

    # -- watching -----------------------------------------------------------------------

    @property
    def supervisor(self) -> int:
        """Process id of the supervisor (uvicorn) or arbiter (gunicorn)."""
        return self._supervisor.pid

    async def watch(self) -> None:
        """Return never; raise as soon as the server is of no use any more.

        Raises:
            TrafficError: The supervisor ended, or a restarted worker can't start.
        """
        while True:
            code = self._supervisor.poll()
            if self._restarting:  # its end is wanted, and `restart` tells a failed start
                await asyncio.sleep(WATCH)
                continue
            if code is not None:
                raise TrafficError(
                    f"サーバー（{self.name}）が実行中に終了しました（終了コード {code}）"
                    f"{self._log_hint()}。"
                )
            for report in self._read_reports().values():
                if report["state"] == "failed":
                    raise TrafficError(
                        "ワーカーが実行中に起動し直せませんでした: "
                        f"{self.app}: {report['error']}。"
                    )
            await asyncio.sleep(WATCH)

    @property
    def _supervisor(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "use the cluster as an `async with` block"
        return self._process

    def _read_reports(self) -> dict[int, dict[str, str]]:
        return {
            int(path.stem): json.loads(path.read_text(encoding="utf-8"))
            for path in self._reports.glob("*.json")
        }

    def _log_hint(self) -> str:
        return log_hint(self._log)


def log_hint(path: Path) -> str:
    """The last line of a log, as a parenthesis; empty if nothing was written."""
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 8192))
        lines = log.read().decode("utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"。ログの最後の行: {last[:200]}" if last else ""


def python_module(name: str, *arguments: str) -> list[str]:
    """A command that runs *name* with this interpreter, whatever PATH says."""
    return [sys.executable, "-m", name, *arguments]


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_group(group: int) -> None:
    """SIGKILL what is left of a process group, and wait until it is gone.

    A zombie counts as gone: it is its parent's business. In a container whose PID 1 does not
    reap, orphans stay zombies for ever.
    """
    deadline = time.monotonic() + STOP_TIMEOUT
    while _is_group_running(group) and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        time.sleep(POLL)


def _is_group_running(group: int) -> bool:
    return any(_group(p.pid) == group and _is_running(p.pid) for p in psutil.process_iter())


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
