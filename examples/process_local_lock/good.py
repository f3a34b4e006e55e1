"""請求書に、欠番も重複もない番号を付けて発行します。

番号を読む前に、全ワーカーが共有するロックを PostgreSQL から借ります。
"""

import os

from fastapi import FastAPI
from sqlalchemy import text

from examples.process_local_lock import office
from examples.process_local_lock.office import (
    Invoice,
    Order,
    RequestSession,
    next_number,
    render,
)

app = FastAPI(lifespan=office.lifespan)
app.include_router(office.router)

# --8<-- [start:issue]
TAKE_LOCK = text("SELECT pg_advisory_xact_lock(20)")  # 20 は、番号の発行を表す約束の数


@app.post("/invoices")
def issue(order: Order, session: RequestSession) -> dict[str, int]:
    with session.begin():
        session.execute(TAKE_LOCK)  # 確定か取り消しで、必ず外れる
        number = next_number(session)
        render(order, number)
        session.add(Invoice(number=number))
    return {"number": number, "worker": os.getpid()}


# --8<-- [end:issue]
