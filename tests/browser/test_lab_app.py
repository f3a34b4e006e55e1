"""The app that test_lab_runtime.py runs in the lab's workers; holds no test itself."""

import asyncio
import contextlib
import logging
import os
import socket
import sqlite3
import time

import redis as blocking_redis
import redis.asyncio as redis
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.middleware.sessions import SessionMiddleware
from starlette.websockets import WebSocketDisconnect

events = []
URL = os.environ.get("REDIS_URL", "redis://redis:6379/0")


@contextlib.asynccontextmanager
async def lifespan(app):
    events.append("startup")
    async with redis.from_url(URL, decode_responses=True) as client:
        app.state.redis = client
        yield {"shared": 42}


app = FastAPI(lifespan=lifespan)
app.add_middleware(SessionMiddleware, secret_key="secret")
sync_client = blocking_redis.from_url(URL)


@app.get("/state")
async def state(request: Request):
    return {"shared": request.state.shared, "startup": events.count("startup")}


@app.get("/events")
async def read_events():
    return events


def sync_dependency():
    events.append("sync in")
    yield 1
    events.append("sync out")


async def async_dependency():
    events.append("async in")
    yield 2
    events.append("async out")


@app.get("/dependency")
def dependency(a: int = Depends(sync_dependency), b: int = Depends(async_dependency)):
    events.append("endpoint")
    return events[-3:]


@app.get("/background")
async def background(tasks: BackgroundTasks):
    async def later():
        await asyncio.sleep(0.01)
        events.append("async task")

    tasks.add_task(events.append, "sync task")
    tasks.add_task(later)
    return {"queued": True}


@app.get("/session")
async def session(request: Request):
    request.session["n"] = request.session.get("n", 0) + 1
    return {"n": request.session["n"]}


@app.get("/stream")
async def stream():
    async def chunks():
        for i in range(4):
            yield f"{i}\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(chunks(), media_type="text/plain")


@app.get("/stream-sync")
def stream_sync():
    def chunks():
        for i in range(4):
            yield f"{i}\n"
            time.sleep(0.01)

    return StreamingResponse(chunks(), media_type="text/plain")


@app.get("/items/{number}")
async def item(number: int):
    return number


@app.get("/teapot")
async def teapot():
    raise HTTPException(418, "teapot")


@app.get("/boom")
async def boom():
    return 1 / 0


@app.post("/echo")
async def echo(request: Request):
    return {
        "length": len(await request.body()),
        "query": dict(request.query_params),
        "header": request.headers.get("x-a"),
    }


@app.get("/print")
async def prints():
    print("printed")
    logging.getLogger("x").warning("warned")
    return {"pid": os.getpid()}


@app.get("/sqlite")
def sqlite():
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute("create table t (x)")
        db.execute("insert into t values (1)")
        return {"rows": db.execute("select count(*) from t").fetchone()[0]}


@app.get("/executor")
async def executor():
    loop = asyncio.get_running_loop()
    results = await asyncio.gather(
        loop.run_in_executor(None, lambda: 1), asyncio.to_thread(lambda: 1)
    )
    return {"done": sum(results)}


@app.get("/threadpool")
async def threadpool():
    return {"value": await run_in_threadpool(lambda: 7)}


@app.get("/lazy")
async def lazy():
    import wave

    return {"module": wave.__name__}


@app.websocket("/ws")
async def ws(sock: WebSocket):
    await sock.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await sock.send_text("echo " + await sock.receive_text())


@app.get("/redis-reset")
async def reset(request: Request):
    await request.app.state.redis.flushall()


@app.get("/increment")
async def increment(request: Request):
    return {"n": await request.app.state.redis.incr("n")}


@app.get("/increment-sync")
def increment_sync():
    return {"n": sync_client.incr("n")}


@app.get("/redis")
async def use_redis(request: Request):
    r, out = request.app.state.redis, {}
    await r.flushall()
    await r.set("a", "1", ex=10)
    out["ttl"] = await r.ttl("a")
    out["nx"] = await r.set("a", "2", nx=True)
    await r.hset("h", mapping={"x": 1, "y": "z"})
    out["hash"] = await r.hgetall("h")
    async with r.pipeline(transaction=True) as pipe:
        out["pipeline"] = await pipe.incr("c").incr("c").expire("c", 5).execute()
    await r.zadd("z", {"a": 1, "b": 2.5})
    out["zrange"] = await r.zrange("z", 0, -1, withscores=True)
    await r.rpush("l", "1", "2")
    out["list"] = await r.lrange("l", 0, -1)
    out["blpop"] = await r.blpop("l", timeout=1)
    await r.delete("l")
    out["blpop_empty"] = await r.blpop("l", timeout=0.05)
    out["pubsub"] = await _publish(r)
    out["watch"] = await _watch(r)
    out["lock"] = await _lock(r)
    try:
        await r.eval("return 1", 0)
    except redis.ResponseError as error:
        out["lua"] = "no Lua" if "no Lua" in str(error) else str(error)
    return out


async def _publish(r):
    channel = r.pubsub()
    await channel.subscribe("c")
    await r.publish("c", "hello")
    for _ in range(20):
        message = await channel.get_message(timeout=0.2, ignore_subscribe_messages=True)
        if message:
            break
    await channel.aclose()
    return message["data"]


async def _watch(r):
    async with r.pipeline() as pipe:
        await pipe.watch("w")
        await r.set("w", "other")
        pipe.multi()
        pipe.set("w", "mine")
        try:
            await pipe.execute()
        except redis.WatchError as error:
            return type(error).__name__


async def _lock(r):
    first, second = r.lock("lock", timeout=5), r.lock("lock", timeout=5, blocking=False)
    taken = [await first.acquire(), await second.acquire()]
    await first.extend(5)
    await first.release()
    return [*taken, await second.acquire()]


@app.get("/unreachable")
async def unreachable():
    out = {}
    for host, port in (("nosuch", 6379), ("redis", 1234), ("localhost", 6379)):
        try:
            await asyncio.open_connection(host, port)
        except (socket.gaierror, OSError) as error:
            out[f"{host}:{port}"] = type(error).__name__
    return out
