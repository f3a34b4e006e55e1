"""asyncio.create_task で仕事を始め、終わるまで参照を持ちます。

誘惑: クライアントの切断にも、応答の順序にも影響されない、独立した仕事になります。
破綻: タスクはワーカーのイベントループの上にあり、そのワーカーと一緒に死にます。
"""

import asyncio
import os
import sqlite3
from contextlib import closing
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
app = FastAPI()


class Order(BaseModel):
    """領収書を約束する注文です。"""

    lines: int  # 明細の行数


# --8<-- [start:fix]
running: set[asyncio.Task[None]] = set()  # 参照がないと、途中で回収されることがある


@app.post("/orders", status_code=202)
async def create_order(order: Order) -> dict[str, int | None]:
    with closing(connect()) as db, db:
        added = db.execute("INSERT INTO orders (lines) VALUES (?)", [order.lines])
    task = asyncio.create_task(issue_receipt(added.lastrowid, order.lines))
    running.add(task)
    task.add_done_callback(running.discard)
    return {"order": added.lastrowid, "worker": os.getpid()}


# --8<-- [end:fix]
async def issue_receipt(order_id: int | None, lines: int) -> None:
    save("INSERT INTO runs (order_id) VALUES (?)", order_id)
    await asyncio.sleep(lines * SECONDS_PER_LINE)
    save("INSERT INTO receipts (order_id) VALUES (?)", order_id)


def save(statement: str, order_id: int | None) -> None:
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
