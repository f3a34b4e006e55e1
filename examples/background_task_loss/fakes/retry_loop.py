"""BackgroundTasks に渡す関数を、失敗したらやり直すようにします。

誘惑: 外部サービスの一時的な失敗で消える領収書は、これで確かに減ります。
破綻: やり直すループもワーカーのメモリにあるので、ワーカーが死ぬと、やり直す人ごと消えます。
"""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from fastapi import BackgroundTasks, FastAPI
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
@app.post("/orders", status_code=202)
def create_order(order: Order, background: BackgroundTasks) -> dict[str, int | None]:
    with closing(connect()) as db, db:
        added = db.execute("INSERT INTO orders (lines) VALUES (?)", [order.lines])
    background.add_task(issue_with_retry, added.lastrowid, order.lines)
    return {"order": added.lastrowid, "worker": os.getpid()}


async def issue_with_retry(order_id: int, lines: int) -> None:
    for attempt in range(5):
        try:
            return await issue_receipt(order_id, lines)
        except Exception:
            await asyncio.sleep(2**attempt)


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
