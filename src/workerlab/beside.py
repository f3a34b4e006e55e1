"""A process that runs beside the server for one run: a queue worker, a scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from workerlab.errors import ServiceError
from workerlab.experiment import Beside
from workerlab.guardian import guard, release
from workerlab.processes import kill_group, log_hint, python_module
from workerlab.service import WATCH, Service

START_TIMEOUT = 30.0
POLL = 0.02


class BesideProcess(Service):
    """One process with its children, in a group of its own.

    It is ended with SIGKILL, also on purpose: `Cluster.stop_service` is what the loss of the
    machine would be to it, and nothing of it is worth a graceful end.
    """

    def __init__(self, beside: Beside, *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self.env = {}
        self.title = beside.name
        self._ready = beside.ready.encode()
        self._command = python_module(*beside.command)
        self._settings = env
        self._cwd = cwd
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def is_up(self) -> bool:
        """See `Service.is_up`."""
        return self._process is None or self._process.poll() is None

    async def watch(self) -> None:
        """See `Service.watch`."""
        while self.is_up():
            await asyncio.sleep(WATCH)
        raise ServiceError(
            f"サーバーの隣で動くプロセス（{self.title}）が実行中に終了しました"
            f"{log_hint(self._log)}。"
        )

    def start(self) -> None:
        """Start it and wait until it says that it is ready.

        Raises:
            ServiceError: It ended, or did not say so in time.
        """
        self._log.write_bytes(b"")
        path = os.pathsep.join(p for p in (str(self._cwd), os.environ.get("PYTHONPATH")) if p)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                env={**os.environ, **self._settings, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        guard(self._process.pid)
        deadline = time.monotonic() + START_TIMEOUT
        while self._ready not in self._log.read_bytes():
            if not self.is_up() or time.monotonic() > deadline:
                self.stop()
                raise ServiceError(
                    f"サーバーの隣で動くプロセス（{self.title}）の準備ができませんでした"
                    f"{log_hint(self._log)}。"
                )
            time.sleep(POLL)

    def stop(self) -> None:
        """Kill it and its children at once."""
        process, self._process = self._process, None  # first: the watch must not see it die
        if process is not None:
            kill_group(process.pid)
            process.wait()
            release(process.pid)


@contextlib.asynccontextmanager
async def running_beside(
    beside: Beside, *, env: Mapping[str, str], cwd: Path
) -> AsyncIterator[Service]:
    """The process for one run; it and its children are gone when the block ends.

    Args:
        env: The settings of the services, which it shares with the server.
        cwd: Its working directory, importable by it.
    """
    with tempfile.TemporaryDirectory(prefix="workerlab-beside-") as home:
        process = BesideProcess(beside, env=env, cwd=cwd, log=Path(home, "log"))
        try:
            process.start()
            yield process
        finally:
            process.stop()
