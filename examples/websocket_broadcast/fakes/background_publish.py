"""検査と送信を、発言ごとにバックグラウンドのタスクに任せます。

誘惑: 検査を待たなければ、次の発言をすぐに読めます。
破綻: 検査の終わった順に送られるので、1 人の発言の順序が入れ替わります。
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
RECONNECT_SECONDS = 0.5


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL, retry=Retry(NoBackoff(), 1)) as app.state.redis:
        subscribed = asyncio.Event()
        listener = asyncio.create_task(listen(subscribed))
        await subscribed.wait()  # 購読が始まるまで、だれも入れない
        yield
        listener.cancel()


async def listen(subscribed: asyncio.Event) -> None:
    """どのワーカーの発言も受け取り、このワーカーにつながっている人に送ります。"""
    while True:
        try:
            async with app.state.redis.pubsub() as pubsub:
                await pubsub.subscribe("chat")
                async for event in pubsub.listen():
                    if event["type"] == "subscribe":
                        subscribed.set()
                    else:
                        await deliver(json.loads(event["data"]))
        except redis.RedisError:
            await asyncio.sleep(RECONNECT_SECONDS)  # 切れていた間の発言は届かない


app = FastAPI(lifespan=lifespan)

members: set[WebSocket] = set()


# --8<-- [start:fix]
@app.websocket("/chat/{name}")
async def chat(websocket: WebSocket, name: str) -> None:
    await websocket.accept()
    members.add(websocket)
    try:
        async for message in websocket.iter_json():
            task = asyncio.create_task(publish(websocket, {"from": name, **message}))
            publishing.add(task)
            task.add_done_callback(publishing.discard)
    finally:
        members.discard(websocket)


publishing: set[asyncio.Task[None]] = set()


async def publish(websocket: WebSocket, message: dict[str, Any]) -> None:
    await check(message)
    try:
        await broadcast(message)
    except redis.RedisError:
        await send(websocket, {"error": "送れませんでした", "message": message})


# --8<-- [end:fix]
async def broadcast(message: dict[str, Any]) -> None:
    await app.state.redis.publish("chat", json.dumps(message))


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
