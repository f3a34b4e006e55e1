"""A private Memcached for one run, on a port that the kernel chose."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from workerlab.errors import ServiceError
from workerlab.guardian import guard, release
from workerlab.service import Service

URL_VARIABLE = "MEMCACHED_URL"
START_TIMEOUT = 10.0
MEMORY_MB = 8
"""Small on purpose: an experiment can fill it and see entries evicted."""


class PrivateMemcached(Service):
    """A Memcached of our own. A restart is empty and may get another port."""

    title = "Memcached"

    def __init__(self, home: Path, program: str) -> None:
        self._ports = home / "ports"
        self._program = program
        self._port = -1  # memcached: let the kernel choose, and write it down
        self._process: subprocess.Popen[bytes] | None = None
        self.env: dict[str, str] = {}

    def start(self) -> None:
        """Start, on the same port as before when there was one."""
        self._ports.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                *(self._program, "-l", "127.0.0.1", "-p", str(self._port)),
                *("-U", "0", "-m", str(MEMORY_MB), "-t", "1"),
                *(("-u", "nobody") if os.geteuid() == 0 else ()),
            ],
            env={**os.environ, "MEMCACHED_PORT_FILENAME": str(self._ports)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        guard(self._process.pid)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._ports.is_file():
            if self._process.poll() is not None or time.monotonic() > deadline:
                code = self._process.poll()
                self.stop()
                raise ServiceError(
                    f"Memcached を起動できませんでした（終了コード {code}）。"
                    "memcached コマンドが単独で動くかを確かめてください。"
                )
            time.sleep(0.01)
        line = self._ports.read_text(encoding="utf-8").splitlines()[0]
        self._port = int(line.removeprefix("TCP INET: "))
        self.env[URL_VARIABLE] = f"memcached://127.0.0.1:{self._port}"

    def stop(self) -> None:
        """Stop if it runs; nothing of it is worth a graceful end, which takes a second."""
        process, self._process = self._process, None  # first: the watch must not see it die
        if process is not None:
            process.kill()
            process.wait(10)
            release(process.pid)

    def is_up(self) -> bool:
        """See `Service.is_up`."""
        return self._process is None or self._process.poll() is None


@contextlib.asynccontextmanager
async def memcached() -> AsyncIterator[Service]:
    """An empty Memcached for one run, gone when the block ends.

    Raises:
        ServiceError: No Memcached is installed here, or it does not start.
    """
    program = shutil.which("memcached")
    if program is None:
        raise ServiceError(
            "Memcached が見つかりません。入れてください"
            "（Debian と Ubuntu では sudo apt install memcached）。"
        )
    with tempfile.TemporaryDirectory(prefix="workerlab-memcached-") as home:
        Path(home).chmod(0o777)  # memcached, as nobody, writes its port here
        server = PrivateMemcached(Path(home), program)
        try:
            server.start()
            yield server
        finally:
            server.stop()
