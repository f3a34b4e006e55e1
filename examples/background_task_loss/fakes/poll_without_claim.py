"""全ワーカーが、領収書のない注文をデータベースから探して発行します。

誘惑: 注文の表がそのままキューになり、どのワーカーが死んでも、残りが続きを拾います。
破綻: 4 つのワーカーが同じ注文を見つけて、それぞれ領収書を発行します。
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel

DATABASE = Path(os.environ.get("DATA_DIR", "."), "orders.db")
SECONDS_PER_LINE = 0.1  # 明細 1 行を領収書に載せるのにかかる時間のつもり
SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, lines INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS receipts (number INTEGER PRIMARY KEY, order_id INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS runs (order_id INTEGER NOT NULL);
"""


def connect() -> sqlite3.Connection:
    return sqlite3.connect(DATABASE, timeout=10)


with closing(connect()) as db:
    db.executescript(SCHEMA)


class Order(BaseModel):
    """領収書を約束する注文です。"""

    lines: int  # 明細の行数


# --8<-- [start:fix]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    poller = asyncio.create_task(poll())
    yield
    poller.cancel()


async def poll() -> None:
    while True:
        with closing(connect()) as db:
            waiting = db.execute(
                "SELECT id, lines FROM orders WHERE id NOT IN (SELECT order_id FROM receipts)"
            ).fetchall()
        await asyncio.gather(*(issue_receipt(*order) for order in waiting))
        await asyncio.sleep(0.2)


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=202)
def create_order(order: Order) -> dict[str, int | None]:
    with closing(connect()) as db, db:
        added = db.execute("INSERT INTO orders (lines) VALUES (?)", [order.lines])
    return {"order": added.lastrowid, "worker": os.getpid()}


# --8<-- [end:fix]
async def issue_receipt(order_id: int, lines: int) -> None:
    save("INSERT INTO runs (order_id) VALUES (?)", order_id)
    await asyncio.sleep(lines * SECONDS_PER_LINE)
    save("INSERT INTO receipts (order_id) VALUES (?)", order_id)


def save(statement: str, order_id: int) -> None:
    with closing(connect()) as db, db:
        db.execute(statement, [order_id])


@app.get("/receipts")
def read_receipts() -> dict[str, int]:
    """実験が数えるための窓口です。"""
    with closing(connect()) as db:
        (orders,) = db.execute("SELECT count(*) FROM orders").fetchone()
        receipts, issued = db.execute(
            "SELECT count(*), count(DISTINCT order_id) FROM receipts"
        ).fetchone()
        (runs,) = db.execute("SELECT count(*) FROM runs").fetchone()
    counts = {"orders": orders, "issued": issued, "repeated": receipts - issued, "runs": runs}
    return {**counts, "worker": os.getpid()}
