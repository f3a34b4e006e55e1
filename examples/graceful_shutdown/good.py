"""注文を受け付け、件数を SSE と WebSocket で、止める合図があるまで知らせます。"""

import asyncio
import os
import signal
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from types import FrameType

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
# --8<-- [start:signal]
stopping = asyncio.Event()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    if threading.current_thread() is threading.main_thread():  # TestClient は別のスレッド
        listen_to_sigterm(asyncio.get_running_loop())
    yield


def listen_to_sigterm(loop: asyncio.AbstractEventLoop) -> None:
    """SIGTERM で stopping を立て、続けて、サーバーが登録していた処理を呼びます。"""
    servers_own = signal.getsignal(signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)
        if callable(servers_own):
            servers_own(number, frame)

    signal.signal(signal.SIGTERM, handle)


app = FastAPI(lifespan=lifespan)


# --8<-- [end:signal]
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
    if DRAINING.exists():  # 止める側が、SIGTERM の前に作るファイル
        raise HTTPException(503, "まもなく止まります。")
    return {"ready": True}


# --8<-- [end:ready]
# --8<-- [start:push]
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


# --8<-- [end:push]
