"""Use every feature once before the snapshot is taken, so that no worker imports it later.

What is imported here is in the snapshot; all else comes from the lazy pack on first import.
"""

# ruff: noqa: F401
import ast
import asyncio
import base64
import collections
import concurrent.futures
import contextlib
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import hmac
import html
import itertools
import json
import linecache
import logging
import math
import os
import pathlib
import random
import secrets
import sqlite3
import statistics
import string
import sys
import tempfile
import textwrap
import threading
import time
import traceback
import typing
import uuid
import xml.sax.saxutils

import anyio
import anyio._backends._asyncio
import fastapi
import fastapi.middleware.cors
import fastapi.openapi.docs
import fastapi.openapi.utils
import fastapi.responses
import fastapi.security
import itsdangerous
import lab_boot
import lab_files
import lab_outbox
import lab_redis
import lab_server
import pydantic
import python_multipart
import redis
import redis.asyncio
import redis.asyncio.lock
import redis.lock
import starlette.background
import starlette.concurrency
import starlette.middleware.base
import starlette.middleware.sessions
import starlette.requests
import starlette.responses
import starlette.staticfiles
import starlette.websockets


def _plain_app():
    from fastapi import BackgroundTasks, FastAPI, Request
    from pydantic import BaseModel

    class Item(BaseModel):
        name: str
        price: float = 1.0
        tags: list[str] = []

    app = FastAPI()

    @app.get("/")
    async def root(q: str = "x"):
        return {"q": q}

    @app.post("/items")
    async def items(item: Item, request: Request, tasks: BackgroundTasks) -> Item:
        return item

    return app


def _rich_app():
    from fastapi import (
        BackgroundTasks,
        Depends,
        FastAPI,
        HTTPException,
        Request,
        WebSocket,
    )
    from fastapi.responses import StreamingResponse
    from starlette.middleware.sessions import SessionMiddleware

    @contextlib.asynccontextmanager
    async def lifespan(app):
        yield {"x": 1}

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(SessionMiddleware, secret_key="x")

    def dependency():
        yield 1

    @app.get("/session")
    def session(request: Request, d: int = Depends(dependency)):
        request.session["a"] = 1
        return {"d": d, "x": request.state.x}

    @app.get("/stream")
    def stream():
        def chunks():
            yield "a"
            yield "b"

        return StreamingResponse(chunks())

    @app.get("/boom")
    async def boom():
        return 1 / 0

    @app.get("/refused")
    async def refused(tasks: BackgroundTasks):
        tasks.add_task(len, "")
        raise HTTPException(400, "x")

    @app.websocket("/ws")
    async def echo(ws: WebSocket):
        await ws.accept()
        await ws.send_text(await ws.receive_text())
        await ws.close()

    return app


async def _play(app, paths):
    outputs = []
    lab_server._app, lab_server._lifespan = app, lab_server._Lifespan(app)
    await lab_server._lifespan.startup()
    headers = [["host", "x"], ["content-type", "application/json"]]
    for path in paths:
        method, body = ("POST", '{"name":"a"}') if path == "/items" else ("GET", "")
        await lab_server._answer(1, method, path, "", headers, 1, body)
        outputs += lab_outbox.take()
    if "/boom" in paths:
        lab_server.open_websocket(json.dumps([2, "", "/ws", "", headers, 1, ""]))
        lab_server.receive_websocket(2, "x")
        while 2 in lab_server._sockets:
            await asyncio.sleep(0)
        outputs += lab_outbox.take()
    await lab_server._lifespan.shutdown()
    lab_server._app = lab_server._lifespan = None
    return outputs


class _Wire:
    """A pair of PortSockets without JavaScript, to warm redis-py and fakeredis."""

    def __init__(self):
        self._listen = self._held = None

    def listen(self, callback):
        self._listen = callback

    def write(self, data):
        asyncio.get_running_loop().call_soon(self.other._listen, data)

    def close(self):
        pass


class _Box:
    def __init__(self, promise):
        self.promise = promise


class _Bridge:
    async def _connect(self):
        near, far = _Wire(), _Wire()
        near.other, far.other = far, near
        lab_redis.accept(far)
        return near

    def connect(self, host, port):
        return _Box(self._connect())


async def _warm_redis():
    import lab_sockets

    real = (
        lab_sockets.to_js,
        lab_redis.to_js,
        lab_sockets.create_proxy,
        lab_redis.create_proxy,
    )

    class Bytes(bytes):
        def to_bytes(self):
            return bytes(self)

    class Proxy:
        def __init__(self, function):
            self.function = function

        def __call__(self, *args):
            return self.function(*args)

        def destroy(self):
            pass

    lab_sockets.to_js = lab_redis.to_js = Bytes
    lab_sockets.create_proxy = lab_redis.create_proxy = Proxy
    lab_sockets.attach(_Bridge())
    lab_redis.start()
    client = redis.asyncio.from_url("redis://redis:6379")
    assert await client.incr("n") == 1
    assert await client.set("k", "v", ex=5, nx=True)
    assert await client.get("k") == b"v"
    async with client.pipeline(transaction=True) as pipe:
        pipe.incr("n")
        pipe.expire("n", 5)
        await pipe.execute()
    async with client.lock("lock", timeout=5):
        pass
    channel = client.pubsub()
    await channel.subscribe("c")
    await client.publish("c", "x")
    for _ in range(5):
        await channel.get_message(timeout=0.01)
    await channel.aclose()
    await client.aclose()
    lab_redis.stop()
    redis.lock.Lock.lua_release = redis.lock.Lock.lua_extend = None
    redis.lock.Lock.lua_reacquire = None
    redis.asyncio.lock.Lock.lua_release = redis.asyncio.lock.Lock.lua_extend = None
    redis.asyncio.lock.Lock.lua_reacquire = None
    lab_sockets.attach(None)
    (
        lab_sockets.to_js,
        lab_redis.to_js,
        lab_sockets.create_proxy,
        lab_redis.create_proxy,
    ) = real


def _warm_sqlite():
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute("create table t (x)")
        db.execute("select count(*) from t").fetchone()


async def warm():
    """Run all of it; the statuses of the answers are the proof that it worked."""
    outputs = await _play(_plain_app(), ("/", "/items", "/", "/items", "/openapi.json"))
    outputs += await _play(
        _rich_app(),
        ("/session", "/stream", "/boom", "/refused", "/nope", "/openapi.json", "/docs"),
    )
    await _warm_redis()
    _warm_sqlite()
    try:
        compile("def", "x", "exec")
    except SyntaxError as error:
        lab_files.readers_traceback(error)
    return [o[2] for o in outputs if o[0] == "response" and o[2]]


def forget():
    """Drop caches that only served the warm-up."""
    import gc
    import zipimport

    import fastapi.dependencies.utils

    for clear in list(typing._cleanups):
        clear()
    linecache.clearcache()
    zipimport._zip_directory_cache.clear()
    sys.path_importer_cache.clear()
    os.environ.pop("PYTHONHASHSEED", None)
    gc.collect()
    gc.freeze()
