"""One interpreter in the role of one uvicorn worker process: ASGI in, responses out.

Bodies travel as "binary strings": one character per byte (see ``WireRequest`` and
``WorkerOutput`` in ``protocol.js``).
"""

import asyncio
import importlib
import json
import os
from urllib.parse import unquote

import lab_files
from lab_outbox import flush, put

_ASGI = {"version": "3.0", "spec_version": "2.3"}

_app = None
_lifespan = None
_running = set()
_disconnected = {}
_sockets = {}


async def start(files, target, environment="{}"):
    """Import *target* (``"bad:app"``) and run its lifespan; returns ``""`` or a traceback."""
    global _app, _lifespan
    try:
        os.environ.update(json.loads(environment))
        lab_files.write(files)
        module, _, attribute = target.partition(":")
        _app = getattr(importlib.import_module(module), attribute or "app")
        _lifespan = _Lifespan(_app)
        await _lifespan.startup()
    except BaseException as error:
        flush()
        return lab_files.readers_traceback(error)
    flush()
    return ""


async def stop():
    """Run the shutdown half of the lifespan."""
    if _lifespan is not None:
        await _lifespan.shutdown()
    flush()


class StartupFailed(Exception):
    """The application's lifespan said ``lifespan.startup.failed``."""


class _Lifespan:
    """The lifespan protocol, ``auto`` as in uvicorn: an app may not know it."""

    def __init__(self, app):
        self._app, self.state = app, {}
        self._inbox = asyncio.Queue()
        self._started, self._stopped = asyncio.Event(), asyncio.Event()
        self._error = None
        self._task = None

    async def startup(self):
        self._task = asyncio.ensure_future(self._run())
        self._inbox.put_nowait({"type": "lifespan.startup"})
        await self._started.wait()
        if self._error is not None:
            raise self._error

    async def shutdown(self):
        if not self._stopped.is_set():
            self._inbox.put_nowait({"type": "lifespan.shutdown"})
            await self._stopped.wait()

    async def _send(self, message):
        kind = message["type"]
        if kind == "lifespan.startup.failed":
            self._error = self._error or StartupFailed(message.get("message", ""))
        if kind.startswith("lifespan.startup."):
            self._started.set()
        elif kind.startswith("lifespan.shutdown."):
            self._stopped.set()

    async def _run(self):
        scope = {"type": "lifespan", "asgi": _ASGI, "state": self.state}
        try:
            await self._app(scope, self._inbox.get, self._send)
        except BaseException as error:
            if self._error is not None:  # the app sent "failed" with its text, then raised
                self._error = error
            elif self._started.is_set():
                _log_exception("Exception in 'lifespan' protocol", error)
        finally:
            self._started.set()
            self._stopped.set()


def _log_exception(title, error):
    text = f"ERROR:    {title}\n" + lab_files.readers_traceback(error)
    put(["log", "stderr", text.rstrip("\n")])


def _scope(kind, method, path, query, headers, client):
    scope = {
        "type": kind,
        "asgi": _ASGI,
        "http_version": "1.1",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers],
        "client": ("127.0.0.1", client),
        "server": ("127.0.0.1", 8000),
        "state": _lifespan.state.copy(),
    }
    if kind == "http":
        scope.update(method=method, scheme="http")
    else:
        scope.update(scheme="ws", subprotocols=[])
    return scope


def requests(batch):
    """Start a task for each request of *batch* (JSON, typedef ``WireRequest``)."""
    for request in json.loads(batch):
        task = asyncio.Task(_answer(*request), loop=asyncio.get_running_loop())
        _running.add(task)
        task.add_done_callback(_running.discard)


async def _answer(request_id, method, path, query, headers, client, body):
    """Run one HTTP request through the app; exactly one final output follows."""
    cycle = _Cycle(request_id, body)
    try:
        await _app(
            _scope("http", method, path, query, headers, client),
            cycle.receive,
            cycle.send,
        )
    except BaseException as error:
        _log_exception("Exception in ASGI application", error)
        cycle.fail()
    else:
        cycle.fail()
    _disconnected.pop(request_id, None)


class _Cycle:
    """The receive and send of one HTTP exchange."""

    __slots__ = ("_body", "_done", "_gone", "_head", "_id")

    def __init__(self, request_id, body):
        self._id, self._body = request_id, body
        self._head = None
        self._done = False
        self._gone = None

    async def receive(self):
        if self._body is not None:
            body, self._body = self._body, None
            return {
                "type": "http.request",
                "body": body.encode("latin-1"),
                "more_body": False,
            }
        if not self._done:
            self._gone = _disconnected[self._id] = asyncio.get_running_loop().create_future()
            await self._gone
        return {"type": "http.disconnect"}

    async def send(self, message):
        if message["type"] == "http.response.start":
            headers = message.get("headers", ())
            self._head = [
                message["status"],
                [[k.decode("latin-1"), v.decode("latin-1")] for k, v in headers],
            ]
        elif message["type"] == "http.response.body" and not self._done:
            body = message.get("body", b"").decode("latin-1")
            more = message.get("more_body", False)
            put(["response", self._id, *(self._head or [0, None]), body, more])
            self._head = None
            if not more:
                self._done = True
                self._wake()

    def fail(self):
        """Answer 500 when the app ended without a complete response."""
        if not self._done:
            self._done = True
            put(["response", self._id, 500, [["content-type", "text/plain; charset=utf-8"]],
                 "Internal Server Error", False]
            )  # fmt: skip
            self._wake()

    def _wake(self):
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)


def abort(request_id):
    """Tell the app that the client of *request_id* hung up."""
    gone = _disconnected.pop(request_id, None)
    if gone is not None and not gone.done():
        gone.set_result(None)


def open_websocket(request):
    """Start a WebSocket session (JSON, typedef ``WireRequest``)."""
    socket_id, _, path, query, headers, client, _ = json.loads(request)
    inbox = _sockets[socket_id] = asyncio.Queue()
    inbox.put_nowait({"type": "websocket.connect"})
    task = asyncio.Task(
        _run_websocket(socket_id, inbox, _scope("websocket", "", path, query, headers, client)),
        loop=asyncio.get_running_loop(),
    )
    _running.add(task)
    task.add_done_callback(_running.discard)


def receive_websocket(socket_id, text):
    """Deliver a text frame."""
    if socket_id in _sockets:
        _sockets[socket_id].put_nowait({"type": "websocket.receive", "text": text})


def close_websocket(socket_id, code):
    """Deliver the client's close."""
    if socket_id in _sockets:
        _sockets[socket_id].put_nowait({"type": "websocket.disconnect", "code": code})


async def _run_websocket(socket_id, inbox, scope):
    async def send(message):
        kind = message["type"]
        if kind == "websocket.accept":
            put(["websocket", socket_id, "open", ""])
        elif kind == "websocket.send":
            text = message.get("text")
            data = text if text is not None else message["bytes"].decode("latin-1")
            put(["websocket", socket_id, "message", data])
        elif kind == "websocket.close":
            put(["websocket", socket_id, "close", str(message.get("code", 1000))])

    try:
        await _app(scope, inbox.get, send)
    except BaseException as error:
        _log_exception("Exception in ASGI application", error)
    _sockets.pop(socket_id, None)
    put(["websocket", socket_id, "end", ""])
