"""HTTP for experiments: a new connection for every request, the worker read from a header.

Or one kept connection for all of them, where the experiment is about that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as jsonlib
import math
import re
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

from workerlab.cluster import WORKER_HEADER
from workerlab.trace import Exchange, Trace

CLOSE_TIMEOUT = 2.0
"""Seconds that the other side gets to answer the closing of a WebSocket."""
BROKEN = 1006
"""The close code of a WebSocket that ended without one."""
NO_ANSWER = (aiohttp.ClientError, ConnectionError, TimeoutError, asyncio.TimeoutError)


class Client:
    """Sends requests to one address and records them; one connection each.

    `aiohttp` with ``force_close`` opens a connection per request; requests and client ports
    are counted in ``tests/engine/test_client.py``.

    Args:
        keep_alive: Use one connection, opened anew only when the server has closed it.
        prefix: Put before every path, for an app that is mounted below another.
    """

    def __init__(
        self, base_url: str, trace: Trace, *, keep_alive: bool = False, prefix: str = ""
    ) -> None:
        self.base_url = base_url
        self.prefix = prefix
        self.trace = trace
        self.keep_alive = keep_alive
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            base_url=self.base_url,
            connector=(
                aiohttp.TCPConnector(limit=1)
                if self.keep_alive
                else aiohttp.TCPConnector(force_close=True, limit=0)
            ),
            cookie_jar=aiohttp.DummyCookieJar(),  # an experiment states its cookies
        )
        # aiohttp 3.14 sends a GET or PUT whose connection broke once more, unseen; no option.
        self._session._retry_connection = self.keep_alive
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

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
        assert self._session is not None
        start = self.trace.now()
        worker: int | None = None
        status: int | None = None
        body: Any = None
        error: str | None = None
        answered: dict[str, str] = {}
        try:
            async with self._session.request(
                method,
                self.prefix + path,
                json=json,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout),
            ) as response:
                body = await _decode(response)
                status = response.status
                worker = _worker(response)
                answered = _headers(response)
        except NO_ANSWER as problem:
            error = f"{type(problem).__name__}: {problem}".rstrip(": ")
        return self.trace.add(
            Exchange(
                step=step,
                worker=worker,
                start=start,
                end=self.trace.now(),
                status=status,
                value=_number(body, value),
                error=error,
                body=body,
                headers=answered,
            )
        )

    @contextlib.asynccontextmanager
    async def websocket(
        self, path: str, *, step: str, timeout: float = 10.0
    ) -> AsyncIterator[WebSocket]:
        """See `workerlab.cluster.Cluster.websocket`."""
        assert self._session is not None
        start = self.trace.now()
        socket, response, status, error = None, None, None, None
        try:
            async with asyncio.timeout(timeout):
                socket = await self._session.ws_connect(
                    self.prefix + path,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
                )
            response = socket._response
            status = response.status
        except aiohttp.WSServerHandshakeError as refusal:
            status, error = refusal.status, f"{type(refusal).__name__}: {refusal.message}"
        except NO_ANSWER as problem:
            error = f"{type(problem).__name__}: {problem}".rstrip(": ")
        opened = self.trace.add(
            Exchange(
                step=step,
                worker=_worker(response) if response is not None else None,
                start=start,
                end=self.trace.now(),
                status=status,
                error=error,
            )
        )
        try:
            yield WebSocket(self.trace, opened, socket)
        finally:
            if socket is not None:
                await socket.close()


class WebSocket:
    """See `workerlab.cluster.WebSocket`; made by `Client.websocket`."""

    def __init__(
        self, trace: Trace, opened: Exchange, socket: aiohttp.ClientWebSocketResponse | None
    ) -> None:
        self.opened = opened
        self.close_code: int | None = BROKEN if socket is None else None
        self._trace = trace
        self._socket = socket

    async def send(self, text: str) -> None:
        """See `workerlab.cluster.WebSocket.send`."""
        if self._socket is not None:
            with contextlib.suppress(*NO_ANSWER):
                await self._socket.send_str(text)

    async def receive(
        self, *, step: str, value: str | None = None, timeout: float = 10.0
    ) -> Exchange | None:
        """See `workerlab.cluster.WebSocket.receive`."""
        if self._socket is None:
            return None
        try:
            message = await self._socket.receive(timeout)
        except NO_ANSWER:
            return None
        if message.type is not aiohttp.WSMsgType.TEXT:
            self.close_code = self._socket.close_code  # aiohttp's own says 1006 after a timeout
            return None
        body = _decode_text(message.data)
        now = self._trace.now()
        return self._trace.add(
            Exchange(
                step=step,
                worker=self.opened.worker,
                start=now,
                end=now,
                status=self.opened.status,
                value=_number(body, value),
                body=body,
            )
        )


def _decode_text(text: str) -> Any:
    try:
        return jsonlib.loads(text)
    except ValueError:
        return text


async def _decode(response: aiohttp.ClientResponse) -> Any:
    if response.content_type == "application/json":
        try:
            return await response.json()
        except ValueError:
            pass  # it claims to be JSON and is not: the text tells more
    return await response.text(errors="replace")


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    names = {name.lower() for name in response.headers}
    return {name: "\n".join(response.headers.getall(name)) for name in names}


def _worker(response: aiohttp.ClientResponse) -> int | None:
    pid = response.headers.get(WORKER_HEADER)
    return int(pid) if pid else None


def _number(body: Any, key: str | None) -> float | None:
    if key is None:
        return None
    if isinstance(body, str):
        return sample(body, key)
    value = body.get(key) if isinstance(body, dict) else None
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    return None


def sample(text: str, name: str) -> float | None:
    """The metric *name* in Prometheus's text format, summed over its labels.

    ``None`` when *text* has no such line, so that any other text has no number.
    """
    found = re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    try:
        return sum(map(float, found)) if found else None
    except ValueError:
        return None
