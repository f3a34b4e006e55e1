"""1 つの部屋のチャットです。だれかの発言を、つながっている全員に送ります。

症状: 同じ部屋にいるのに、発言が見える人と見えない人がいます。
"""

import asyncio
import contextlib
import random
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

CHECK_SECONDS = (0.01, 0.05)  # 発言を調べる外のサービスを待つ時間のつもり
SEND_SECONDS = 5

app = FastAPI()

# --8<-- [start:chat]
members: set[WebSocket] = set()


@app.websocket("/chat/{name}")
async def chat(websocket: WebSocket, name: str) -> None:
    await websocket.accept()
    members.add(websocket)
    try:
        async for message in websocket.iter_json():
            await check(message)
            await broadcast({"from": name, **message})
    finally:
        members.discard(websocket)


# --8<-- [end:chat]
# --8<-- [start:broadcast]
async def broadcast(message: dict[str, Any]) -> None:
    await asyncio.gather(*(send(member, message) for member in list(members)))


# --8<-- [end:broadcast]
# --8<-- [start:send]
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


# --8<-- [end:send]
async def check(message: dict[str, Any]) -> None:
    await asyncio.sleep(random.uniform(*CHECK_SECONDS))
