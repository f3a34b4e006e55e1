"""注文を受け付けます。書き込みを減らすため、2 秒分をメモリにためて、まとめて保存します。

症状: ワーカーが 1 つ死ぬと、「受け付けました」と答えた注文の一部が、どこにも残りません。
"""

import asyncio
import os
import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel

DATABASE = Path(os.environ.get("DATA_DIR", "."), "orders.db")
PAYMENT_SECONDS = (0.02, 0.08)  # 決済サービスの答えを待つ時間のつもり
FLUSH_SECONDS = 2
SCHEMA = "CREATE TABLE IF NOT EXISTS orders (key TEXT PRIMARY KEY, yen INTEGER NOT NULL)"


def connect() -> sqlite3.Connection:
    return sqlite3.connect(DATABASE, timeout=10)


with closing(connect()) as db:
    db.executescript(SCHEMA)
app = FastAPI()


class Order(BaseModel):
    """1 件の注文です。"""

    yen: int
    picture: str = "small"


# --8<-- [start:order]
pending: list[tuple[str, int]] = []


@app.put("/orders/{key}", status_code=201)
async def put_order(key: str, order: Order) -> dict[str, int]:
    resize(order.picture)
    await asyncio.sleep(random.uniform(*PAYMENT_SECONDS))
    pending.append((key, order.yen))
    if len(pending) == 1:
        app.state.flushing = asyncio.create_task(flush())
    return {"worker": os.getpid()}


async def flush() -> None:
    await asyncio.sleep(FLUSH_SECONDS)
    batch, pending[:] = pending[:], []
    await asyncio.to_thread(save, batch)


# --8<-- [end:order]
# --8<-- [start:save]
def save(orders: list[tuple[str, int]]) -> None:
    with closing(connect()) as db, db:  # 同じキーの注文は、何度来ても 1 件
        db.executemany("INSERT INTO orders VALUES (?, ?) ON CONFLICT DO NOTHING", orders)


# --8<-- [end:save]
# --8<-- [start:resize]
def resize(picture: str) -> None:
    """画像を縮める処理の代わりです。巨大な画像はメモリを使い切り、OS に止められます。"""
    if picture == "huge":
        os.kill(os.getpid(), signal.SIGKILL)


# --8<-- [end:resize]
@app.get("/orders")
def count_orders() -> dict[str, int]:
    """実験が数えるための窓口です。"""
    with closing(connect()) as db:
        (saved,) = db.execute("SELECT count(*) FROM orders").fetchone()
    return {"saved": saved, "worker": os.getpid()}
