"""good.py の pub/sub をストリームに替え、席を外していた間の発言も送る版です。"""

import asyncio
import contextlib
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio as redis
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
CHECK_SECONDS = (0.01, 0.05)  # 発言を調べる外のサービスを待つ時間のつもり
SEND_SECONDS = 5
RECONNECT_SECONDS = 0.5
KEEP = 1000  # 残しておく発言の数


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(
        REDIS_URL, retry=Retry(NoBackoff(), 1), decode_responses=True
    ) as app.state.redis:
        newest = await app.state.redis.xrevrange("chat:log", count=1)
        app.state.last = newest[0][0] if newest else "0-0"
        listener = asyncio.create_task(listen())
        yield
        listener.cancel()


# --8<-- [start:listen]
async def listen() -> None:
    """最後に読んだ番号の続きから読むので、切れていた間の発言も届きます。"""
    while True:
        try:
            reply = await app.state.redis.xread({"chat:log": app.state.last}, block=1000)
            for number, fields in reply[0][1] if reply else ():
                app.state.last = number
                await deliver({"id": number, **json.loads(fields["json"])})
        except redis.RedisError:
            await asyncio.sleep(RECONNECT_SECONDS)


async def catch_up(websocket: WebSocket, after: str) -> None:
    """after より後の発言を送り、このワーカーが読んだところまで追い付いたら仲間に入れます。"""
    while after != app.state.last:
        upto = app.state.last
        for number, fields in await app.state.redis.xrange("chat:log", f"({after}", upto):
            await send(websocket, {"id": number, **json.loads(fields["json"])})
        after = upto
    members.add(websocket)


# --8<-- [end:listen]
app = FastAPI(lifespan=lifespan)
members: set[WebSocket] = set()


# --8<-- [start:chat]
@app.websocket("/chat/{name}")
async def chat(websocket: WebSocket, name: str, after: str = "") -> None:
    await websocket.accept()
    try:
        await catch_up(websocket, after or app.state.last)
        async for message in websocket.iter_json():
            await check(message)
            try:
                await broadcast({"from": name, **message})
            except redis.RedisError:
                await send(websocket, {"error": "送れませんでした", "message": message})
    finally:
        members.discard(websocket)


async def broadcast(message: dict[str, Any]) -> None:
    await app.state.redis.xadd("chat:log", {"json": json.dumps(message)}, maxlen=KEEP)


# --8<-- [end:chat]
async def deliver(message: dict[str, Any]) -> None:
    await asyncio.gather(*(send(member, message) for member in list(members)))


async def send(member: WebSocket, message: dict[str, Any]) -> None:
    """1 人に送ります。読まない人は切り、ほかの人を待たせません。"""
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await member.send_json(message)
    except TimeoutError:
        members.discard(member)
        task = asyncio.create_task(close(member))  # 閉じるのも待たない
        closing.add(task)
        task.add_done_callback(closing.discard)
    except (WebSocketDisconnect, RuntimeError):
        members.discard(member)  # もういない


closing: set[asyncio.Task[None]] = set()


async def close(member: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await member.close(1013)  # 「あとでつなぎ直してください」


async def check(message: dict[str, Any]) -> None:
    await asyncio.sleep(random.uniform(*CHECK_SECONDS))
