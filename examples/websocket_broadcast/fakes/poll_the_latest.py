"""最後の発言を Redis に置き、どのワーカーも 0.2 秒ごとに見に行きます。

誘惑: 購読も再接続も要らず、読んで比べるだけで全員に届きます。
破綻: 見に行く合間に上書きされた発言は、だれにも届きません。
"""

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
POLL_SECONDS = 0.2


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL, retry=Retry(NoBackoff(), 1)) as app.state.redis:
        listener = asyncio.create_task(listen())
        yield
        listener.cancel()


# --8<-- [start:fix]
async def listen() -> None:
    """どのワーカーの発言も受け取り、このワーカーにつながっている人に送ります。"""
    seen = None
    while True:
        with contextlib.suppress(redis.RedisError):
            latest = await app.state.redis.get("chat:latest")
            if latest and latest != seen:
                seen = latest
                await deliver(json.loads(latest))
        await asyncio.sleep(POLL_SECONDS)


# --8<-- [end:fix]
app = FastAPI(lifespan=lifespan)

members: set[WebSocket] = set()


@app.websocket("/chat/{name}")
async def chat(websocket: WebSocket, name: str) -> None:
    await websocket.accept()
    members.add(websocket)
    try:
        async for message in websocket.iter_json():
            await check(message)
            try:
                await broadcast({"from": name, **message})
            except redis.RedisError:
                await send(websocket, {"error": "送れませんでした", "message": message})
    finally:
        members.discard(websocket)


async def broadcast(message: dict[str, Any]) -> None:
    await app.state.redis.set("chat:latest", json.dumps(message))


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
