"""What runs inside each worker process, around the app under test.

The servers are started with ``workerlab.probe:app``. It loads the real application from the
environment, leaves it as it is, and adds two things that the app could not prove itself:
every response carries the worker's process id, and every start-up leaves a report file, so
that the engine learns *how many* workers were started and *why* one failed (uvicorn's
supervisor exits with 0 or restarts for ever, uvicorn 0.54), and which came to an orderly end.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, cast

from workerlab.cluster import WORKER_HEADER

APP_VARIABLE = "WORKERLAB_APP"
"""Import string ``"package.module:app"``, or the path of a ``.py`` file that has ``app``."""
REPORTS_VARIABLE = "WORKERLAB_REPORTS"
"""Directory that receives ``<pid>.json`` from each worker."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class MissingAppError(Exception):
    """The file was imported, but has no ``app``."""


class Probe:
    """An ASGI application that wraps another and observes it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the wrapped application."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self.app(scope, receive, _marking(send))

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if message["type"] == "lifespan.startup.complete":
                started = True
                report("ready")
            elif message["type"] == "lifespan.startup.failed":
                started = True
                report("failed", f"lifespan: {_last_line(message.get('message', ''))}")
            elif message["type"] == "lifespan.shutdown.complete":
                report("stopped")
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except BaseException:
            if not started:  # an application without lifespan: the server goes on
                report("ready")
            raise
        if not started:  # it returned without a word, which servers accept as well
            report("ready")


def report(state: str, error: str = "") -> None:
    """Write this process's state; the rename makes the file appear complete or not at all."""
    directory = os.environ.get(REPORTS_VARIABLE)
    if not directory:
        return
    target = Path(directory, f"{os.getpid()}.json")
    draft = target.with_suffix(".tmp")
    draft.write_text(json.dumps({"state": state, "error": error}), encoding="utf-8")
    draft.replace(target)


def load(location: str) -> ASGIApp:
    """Import the application.

    Args:
        location: ``"package.module:app"``, or a path ending in ``.py`` whose folder becomes
            importable as it does for ``python FILE``.

    Raises:
        MissingAppError: The module has no such attribute.
        Exception: Whatever the module raises while it is imported.
    """
    if location.endswith(".py"):
        path, attribute = Path(location), "app"
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    else:
        name, attribute = location.split(":")
        module = importlib.import_module(name)
    if not hasattr(module, attribute):
        raise MissingAppError(f"{attribute} がありません")
    return cast(ASGIApp, getattr(module, attribute))


def _load_reported(location: str) -> Probe:
    report("starting")
    try:
        return Probe(load(location))
    except BaseException as error:
        report("failed", f"import: {_where(error)}")
        raise


def _marking(send: Send) -> Send:
    """Add the worker's process id to the first message of a response."""
    mark = (WORKER_HEADER.encode(), str(os.getpid()).encode())

    async def marked(message: MutableMapping[str, Any]) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            others = [h for h in message.get("headers", ()) if h[0].lower() != mark[0]]
            message = {**message, "headers": [*others, mark]}
        await send(message)

    return marked


def _where(error: BaseException) -> str:
    """The error in one line, with the innermost file and line that is not ours."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "importlib" not in f.filename and f.filename != __file__]
    place = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {_last_line(str(error))}{place}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "（メッセージなし）"


def __getattr__(name: str) -> Probe:
    """``workerlab.probe:app`` is made when a server asks for it, not when this is imported."""
    if name == "app":
        probe = _load_reported(os.environ[APP_VARIABLE])
        globals()["app"] = probe
        return probe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
