"""注文を受け付け、件数を SSE と WebSocket で知らせ続けます。

症状: 止めるたびに、新しい注文と、開いたままの接続が切れ、最後は強制終了されます。
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel

DATABASE = Path(os.environ.get("DATA_DIR", "."), "orders.db")
SECONDS_PER_LINE = 0.5  # 明細 1 行の決済にかかる時間のつもり
PUSH_SECONDS = 1
SCHEMA = "CREATE TABLE IF NOT EXISTS orders (key TEXT PRIMARY KEY)"


def connect() -> sqlite3.Connection:
    return sqlite3.connect(DATABASE, timeout=10)


with closing(connect()) as db:
    db.executescript(SCHEMA)
app = FastAPI()


class Order(BaseModel):
    """1 件の注文です。"""

    lines: int = 8  # 明細の行数


# --8<-- [start:order]
@app.put("/orders/{key}", status_code=201)
async def put_order(key: str, order: Order) -> dict[str, int]:
    await asyncio.sleep(order.lines * SECONDS_PER_LINE)
    await asyncio.to_thread(save, key)
    return {"worker": os.getpid()}


def save(key: str) -> None:
    with closing(connect()) as db, db:  # 同じキーの注文は、何度来ても 1 件
        db.execute("INSERT INTO orders VALUES (?) ON CONFLICT DO NOTHING", [key])


# --8<-- [end:order]
@app.get("/orders")
def count_orders() -> dict[str, int]:
    with closing(connect()) as db:
        (saved,) = db.execute("SELECT count(*) FROM orders").fetchone()
    return {"saved": saved, "worker": os.getpid()}


# --8<-- [start:ready]
@app.get("/readyz")
async def ready() -> dict[str, bool]:
    return {"ready": True}


# --8<-- [end:ready]
# --8<-- [start:push]
@app.get("/orders/stream", response_class=EventSourceResponse)
async def stream() -> AsyncIterator[dict[str, int]]:
    while True:
        yield await asyncio.to_thread(count_orders)
        await asyncio.sleep(PUSH_SECONDS)


@app.websocket("/orders/live")
async def live(socket: WebSocket) -> None:
    await socket.accept()
    with suppress(WebSocketDisconnect):
        while True:
            await socket.send_json(await asyncio.to_thread(count_orders))
            await asyncio.sleep(PUSH_SECONDS)


# --8<-- [end:push]
