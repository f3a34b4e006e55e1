"""A private nginx for one run, in front of the workers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil

from workerlab.errors import ServiceError
from workerlab.guardian import guard, release
from workerlab.service import Service, free_port

START_TIMEOUT = 30.0
START_ATTEMPTS = 5
IDLE_TIMEOUT = 1.0
"""Seconds that a busy nginx gets before it is paused anyway."""
WORKERS, PUBLIC = "127.0.0.1:8000", "127.0.0.1:8080"
"""Addresses in the given configuration that are replaced: of the workers, and of nginx."""
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")
"""Where it is, also when the user's PATH does not say so."""
SURROUNDINGS = """
daemon off;
master_process off;  # one process: a signal to it reaches all of nginx
pid {home}/pid;
error_log {home}/error.log error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
{configuration}
}}
"""


class PrivateNginx(Service):
    """An nginx of our own. It starts when the workers' address is known (`put_in_front`)."""

    title = "nginx"

    def __init__(self, home: Path, program: str) -> None:
        self.env = {}
        self.port = 0
        """The port on 127.0.0.1; 0 until it was free, then it stays."""
        self._home = home
        self._program = program
        self._configuration = ""
        self._workers = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running nginx."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def put_in_front(self, port: int, configuration: str) -> int:
        """See `Service.put_in_front`."""
        self._workers, self._configuration = port, configuration
        self.start()
        return self.port

    def start(self) -> None:
        """Start, on the same port as before when there was one.

        nginx cannot take over a bound socket, so another process may grab the port that the
        kernel gave us: then another one is tried.
        """
        for _ in range(1 if self.port else START_ATTEMPTS):
            port = self.port or free_port()
            if self._start_on(port):
                self.port = port
                return
        last = (self.log() or ["出力なし"])[-1]
        raise ServiceError(
            f"nginx を起動できませんでした（{last}）。設定の書き方と、nginx コマンドが"
            "単独で動くかを確かめてください。"
        )

    def _start_on(self, port: int) -> bool:
        """Whether it runs and listens; else it is gone."""
        given = self._configuration.replace(WORKERS, f"127.0.0.1:{self._workers}")
        given = given.replace(PUBLIC, f"127.0.0.1:{port}")
        file = self._home / "nginx.conf"
        file.write_text(SURROUNDINGS.format(home=self._home, configuration=given), "utf-8")
        self._process = subprocess.Popen(
            [
                *(self._program, "-p", self._home, "-c", file),
                *("-e", self._home / "error.log"),  # until it has read the configuration
            ],
            env={k: v for k, v in os.environ.items() if k != "NGINX"},  # inherited sockets
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        guard(self._process.pid)
        deadline = time.monotonic() + START_TIMEOUT
        while self._process.poll() is None and time.monotonic() < deadline:
            if _listens(self._process.pid, port):
                return True
            time.sleep(0.01)
        self.stop()
        return False

    def stop(self) -> None:
        """Stop if it runs; nothing of it is worth a graceful end."""
        process, self._process = self._process, None  # first: the watch must not see it die
        if process is not None:
            process.kill()
            process.wait(10)
            release(process.pid)

    def is_up(self) -> bool:
        """See `Service.is_up`."""
        return self._process is None or self._process.poll() is None

    def pause(self) -> None:
        """See `Service.pause`; first it may finish what it is doing, and fall asleep."""
        process = psutil.Process(self.pid)
        deadline = time.monotonic() + IDLE_TIMEOUT
        while process.status() != psutil.STATUS_SLEEPING and time.monotonic() < deadline:
            time.sleep(0.001)
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """See `Service.resume`."""
        os.kill(self.pid, signal.SIGCONT)

    def measure(self, quantity: str) -> float:
        """``kept``: open connections to the workers. ``closing``: those which the worker has
        closed, and nginx has not noticed it.
        """
        state = {"kept": psutil.CONN_ESTABLISHED, "closing": psutil.CONN_CLOSE_WAIT}[quantity]
        return sum(
            connection.status == state
            for connection in psutil.Process(self.pid).net_connections("tcp4")
            if connection.raddr and connection.raddr.port == self._workers
        )

    def log(self) -> list[str]:
        """See `Service.log`: the lines of ``error.log``."""
        file = self._home / "error.log"
        return file.read_text("utf-8", "replace").splitlines() if file.is_file() else []


@contextlib.asynccontextmanager
async def nginx() -> AsyncIterator[Service]:
    """An nginx that starts once the workers listen, gone when the block ends.

    Raises:
        ServiceError: No nginx is installed here.
    """
    program = find_nginx()
    if program is None:
        raise ServiceError(
            "nginx が見つかりません。入れてください"
            "（Debian と Ubuntu では sudo apt install nginx）。"
        )
    with tempfile.TemporaryDirectory(prefix="workerlab-nginx-") as home:
        server = PrivateNginx(Path(home), program)
        try:
            yield server
        finally:
            server.stop()


def find_nginx() -> str | None:
    """The program, if this machine has it."""
    return shutil.which("nginx", path=os.pathsep.join((os.environ["PATH"], *SYSTEM_FOLDERS)))


def _listens(pid: int, port: int) -> bool:
    """Whether the process itself answers there, and not another one that took the port."""
    try:
        connections = psutil.Process(pid).net_connections("tcp4")
    except psutil.NoSuchProcess:
        return False
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections)
