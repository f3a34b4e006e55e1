"""good.py に、隔離を加えた版です。2 回ワーカーを落とした注文は、もう処理せずに断ります。"""

import asyncio
import os
import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

DATABASE = Path(os.environ.get("DATA_DIR", "."), "orders.db")
PAYMENT_SECONDS = (0.02, 0.08)  # 決済サービスの答えを待つ時間のつもり
SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (key TEXT PRIMARY KEY, yen INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (key TEXT PRIMARY KEY, number INTEGER NOT NULL);
"""
MAX_ATTEMPTS = 2


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
@app.put("/orders/{key}", status_code=201)
async def put_order(key: str, order: Order) -> dict[str, int]:
    if await asyncio.to_thread(begin, key) > MAX_ATTEMPTS:
        raise HTTPException(422, "この注文は、処理の途中で 2 回止まりました。")
    resize(order.picture)
    await asyncio.sleep(random.uniform(*PAYMENT_SECONDS))
    await asyncio.to_thread(save, [(key, order.yen)])
    return {"worker": os.getpid()}


def begin(key: str) -> int:
    """危ない処理の前に、何回目の挑戦かを書き残して返します。保存済みなら 0 です。"""
    with closing(connect()) as db, db:
        if db.execute("SELECT 1 FROM orders WHERE key = ?", [key]).fetchone():
            return 0
        (number,) = db.execute(
            "INSERT INTO attempts VALUES (?, 1) "
            "ON CONFLICT DO UPDATE SET number = number + 1 RETURNING number",
            [key],
        ).fetchone()
    return number


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
