"""注文のトランザクションの中で、先にキューへ入れます。

誘惑: キューへ入れられなければ注文も取り消されるので、片方だけが残ることはなさそうです。
破綻: キューのワーカーはコミットより先に仕事を受け取り、まだ見えない注文を捨てます。
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from anyio import from_thread
from fastapi import FastAPI
from pydantic import BaseModel

from examples.background_task_loss.database import connect
from examples.background_task_loss.tasks import broker, issue_receipt

CONFIRM_SECONDS = 0.05  # 支払いの確認にかかる時間のつもり


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


app = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    """領収書を約束する注文です。"""

    lines: int  # 明細の行数


# --8<-- [start:fix]
@app.post("/orders", status_code=202)
def create_order(order: Order) -> dict[str, int | None]:
    with closing(connect()) as db, db:  # コミットは、このブロックの終わり
        added = db.execute("INSERT INTO orders (lines) VALUES (?)", [order.lines])
        from_thread.run(issue_receipt.kiq, added.lastrowid)
        time.sleep(CONFIRM_SECONDS)
    return {"order": added.lastrowid, "worker": os.getpid()}


# --8<-- [end:fix]
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
