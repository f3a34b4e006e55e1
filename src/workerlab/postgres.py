"""A private PostgreSQL for one run, from the binaries that the system has installed."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from workerlab.errors import ServiceError
from workerlab.guardian import guard, release
from workerlab.service import Service

URL_VARIABLE = "DATABASE_URL"
BIN_VARIABLE = "WORKERLAB_PG_BIN"
"""Folder with ``initdb`` and ``postgres``, where the search does not find it."""
PROGRAMS = ("initdb", "postgres", "pg_isready", "psql")
MAX_CONNECTIONS = 30
"""Small on purpose: a budget that four workers with default pools overrun."""
START_TIMEOUT = 30.0


class PrivatePostgres(Service):
    """A PostgreSQL of our own: data in *home*, on a Unix socket, without any TCP port.

    It keeps its promises to clients, but not to the disk (``fsync=off``): the data is gone
    after the run. As root, it runs as the user ``postgres``, since it refuses root.
    """

    title = "PostgreSQL"

    def __init__(self, home: Path, binaries: Path) -> None:
        self._home = home
        self._binaries = binaries
        self._account = "postgres" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self.env = {
            URL_VARIABLE: f"postgresql:///postgres?host={home}&user=postgres",
        }

    def create(self) -> None:
        """Make the data folder: a copy of one that ``initdb`` made once for this process.

        Raises:
            ServiceError: ``initdb`` or the copy failed; the message ends with its last line.
        """
        if self._account:
            shutil.chown(self._home, self._account)
        template = _template(self._binaries, self._account)
        _run(self._account, "cp", "-R", template / "data", self._home)

    def start(self) -> None:
        """Start and wait until it answers."""
        with (self._home / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._binaries / "postgres", "-D", self._home / "data"),
                    *("-k", self._home, "-c", "listen_addresses="),
                    *("-c", f"max_connections={MAX_CONNECTIONS}"),
                    *("-c", "superuser_reserved_connections=3"),
                    *("-c", "fsync=off", "-c", "full_page_writes=off"),
                    *("-c", "shared_buffers=16MB", "-c", "timezone=UTC"),
                ],
                cwd=self._home,
                user=self._account,
                group=self._account,
                extra_groups=[] if self._account else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        guard(self._process.pid, signal.SIGQUIT)  # which also ends the connections
        deadline = time.monotonic() + START_TIMEOUT
        while self._ask("pg_isready", "--host", str(self._home)).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                last = _last_line((self._home / "postgres.log").read_bytes())
                self.stop()
                raise ServiceError(
                    f"PostgreSQL を起動できませんでした（{last}）。"
                    "共有メモリと空き容量を確かめてください。"
                )
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop if it runs: a fast shutdown, which ends the open connections."""
        process, self._process = self._process, None  # first: the watch must not see it die
        if process is None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(10)
        release(process.pid)

    def is_up(self) -> bool:
        """See `Service.is_up`."""
        return self._process is None or self._process.poll() is None

    def measure(self, quantity: str) -> float:
        """``backends``: client connections now; of these, ``idle_in_transaction`` sit and
        ``waiting`` wait for a lock.

        The app's, that is: those of ``psql``, which measures, do not count.
        """
        done = self._ask(
            *("psql", "--host", str(self._home), "--username=postgres", "-tAc"),
            counting(quantity),
        )
        if done.returncode:
            raise ServiceError(
                f"PostgreSQL に状態を尋ねられませんでした（{_last_line(done.stderr)}）。"
            )
        return float(done.stdout)

    def _ask(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return _execute(self._account, self._binaries / program, *arguments, cwd=self._home)


def counting(quantity: str) -> str:
    """The query of `PrivatePostgres.measure`, to be asked with ``psql``.

    Raises:
        KeyError: There is no such quantity.
    """
    condition = {
        "backends": "true",
        "idle_in_transaction": "state LIKE 'idle in transaction%'",
        "waiting": "wait_event_type = 'Lock'",
    }[quantity]
    return (
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
        # not psql: the backend of the measurement before may still be ending
        f"AND application_name <> 'psql' AND {condition}"
    )


@contextlib.asynccontextmanager
async def postgres() -> AsyncIterator[Service]:
    """An empty PostgreSQL for one run, gone when the block ends.

    Raises:
        ServiceError: No PostgreSQL is installed here, or it does not start.
    """
    binaries = find_binaries()
    if binaries is None:
        raise ServiceError(
            "PostgreSQL のサーバーが見つかりません。入れてください"
            "（Debian と Ubuntu では sudo apt install postgresql）。別の場所にあるなら、"
            f"initdb のあるフォルダーを環境変数 {BIN_VARIABLE} に指定してください。"
        )
    with tempfile.TemporaryDirectory(prefix="workerlab-pg-") as home:
        Path(home).chmod(0o755)  # the workers reach the socket, whoever they run as
        server = PrivatePostgres(Path(home), binaries)
        server.create()
        try:
            server.start()
            yield server
        finally:
            server.stop()


@functools.cache
def find_binaries() -> Path | None:
    """The folder with all of `PROGRAMS`: the user's, PATH, then the newest at usual places."""
    return next(
        (f for f in _candidates() if all((f / program).is_file() for program in PROGRAMS)), None
    )


def _candidates() -> Iterator[Path]:
    if given := os.environ.get(BIN_VARIABLE):
        yield Path(given)
    if found := shutil.which("initdb"):
        yield Path(found).parent
    for root, pattern in (
        ("/usr/lib/postgresql", "*/bin"),
        ("/opt/homebrew/opt", "postgresql*/bin"),
    ):
        yield from sorted(Path(root).glob(pattern), key=_version, reverse=True)


def _version(folder: Path) -> int:
    digits = "".join(filter(str.isdigit, folder.parent.name))
    return int(digits or 0)


def account_exists() -> bool:
    """As root, PostgreSQL needs the user ``postgres`` that its package makes."""
    if os.geteuid() != 0:
        return True
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return False
    return True


@functools.cache
def _template(binaries: Path, account: str | None) -> Path:
    """A folder whose ``data`` is an empty PostgreSQL; gone when this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="workerlab-pg-template-")
    _TEMPLATES.append(folder)
    home = Path(folder.name)
    if account:
        shutil.chown(home, account)
    _run(
        account,
        *(binaries / "initdb", "--pgdata", home / "data", "--username=postgres"),
        *("--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"),
    )
    return home


_TEMPLATES: list[tempfile.TemporaryDirectory[str]] = []


def _run(account: str | None, *command: str | Path) -> None:
    done = _execute(account, *command, cwd=Path("/"))
    if done.returncode:
        raise ServiceError(
            "PostgreSQL のデータを作れませんでした"
            f"（{_last_line(done.stderr)}）。空き容量と権限を確かめてください。"
        )


def _execute(
    account: str | None, *command: str | Path, cwd: Path
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        cwd=cwd,
        user=account,
        group=account,
        extra_groups=[] if account else None,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def _last_line(output: bytes) -> str:
    lines = [line.strip() for line in output.decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "出力なし")
