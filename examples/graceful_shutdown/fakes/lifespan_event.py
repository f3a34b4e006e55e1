"""lifespan の終わりで、終了の合図を立てます。

誘惑: lifespan の終わりは終了処理を書く場所なので、ここで流れを終えられるはずです。
破綻: サーバーが lifespan の終わりを呼ぶのは、開いている応答がすべて終わったあとです。
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

from fastapi import FastAPI, HTTPException, WebSocket, WebSocketDisconnect
from fastapi.sse import EventSourceResponse
from pydantic import BaseModel

DATABASE = Path(os.environ.get("DATA_DIR", "."), "orders.db")
DRAINING = Path(os.environ.get("RUNTIME_DIRECTORY", "."), "draining")
SECONDS_PER_LINE = 0.5  # 明細 1 行の決済にかかる時間のつもり
PUSH_SECONDS = 1
SCHEMA = "CREATE TABLE IF NOT EXISTS orders (key TEXT PRIMARY KEY)"


def connect() -> sqlite3.Connection:
    return sqlite3.connect(DATABASE, timeout=10)


with closing(connect()) as db:
    db.executescript(SCHEMA)
# --8<-- [start:fix]
stopping = asyncio.Event()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    stopping.set()


app = FastAPI(lifespan=lifespan)


# --8<-- [end:fix]
class Order(BaseModel):
    """1 件の注文です。"""

    lines: int = 8  # 明細の行数


@app.put("/orders/{key}", status_code=201)
async def put_order(key: str, order: Order) -> dict[str, int]:
    await asyncio.sleep(order.lines * SECONDS_PER_LINE)
    await asyncio.to_thread(save, key)
    return {"worker": os.getpid()}


def save(key: str) -> None:
    with closing(connect()) as db, db:  # 同じキーの注文は、何度来ても 1 件
        db.execute("INSERT INTO orders VALUES (?) ON CONFLICT DO NOTHING", [key])


@app.get("/orders")
def count_orders() -> dict[str, int]:
    with closing(connect()) as db:
        (saved,) = db.execute("SELECT count(*) FROM orders").fetchone()
    return {"saved": saved, "worker": os.getpid()}


@app.get("/readyz")
async def ready() -> dict[str, bool]:
    if DRAINING.exists():  # 止める側が、SIGTERM の前に作るファイル
        raise HTTPException(503, "まもなく止まります。")
    return {"ready": True}


@app.get("/orders/stream", response_class=EventSourceResponse)
async def stream() -> AsyncIterator[dict[str, int]]:
    while not stopping.is_set():
        yield await asyncio.to_thread(count_orders)
        await pause(PUSH_SECONDS)


@app.websocket("/orders/live")
async def live(socket: WebSocket) -> None:
    await socket.accept()
    with suppress(WebSocketDisconnect):
        while not stopping.is_set():
            await socket.send_json(await asyncio.to_thread(count_orders))
            await pause(PUSH_SECONDS)
        await socket.close(1012)  # サーバーが起動し直すので、つなぎ直してほしい


async def pause(seconds: float) -> None:
    """待ちます。終了が始まれば、すぐに戻ります。"""
    with suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)
