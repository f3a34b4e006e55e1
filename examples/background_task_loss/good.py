"""注文を受け付け、領収書の発行という約束を、注文と同じトランザクションに書きます。

約束を果たすのは、キューのワーカー（tasks.py）です。
"""

import os
from contextlib import closing

from fastapi import FastAPI
from pydantic import BaseModel

from examples.background_task_loss.database import connect

app = FastAPI()


class Order(BaseModel):
    """領収書を約束する注文です。"""

    lines: int  # 明細の行数


# --8<-- [start:order]
@app.post("/orders", status_code=202)
def create_order(order: Order) -> dict[str, int | None]:
    with closing(connect()) as db, db:  # 2 行とも残るか、2 行とも残らない
        added = db.execute("INSERT INTO orders (lines) VALUES (?)", [order.lines])
        db.execute("INSERT INTO outbox (order_id) VALUES (?)", [added.lastrowid])
    return {"order": added.lastrowid, "worker": os.getpid()}


# --8<-- [end:order]
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
