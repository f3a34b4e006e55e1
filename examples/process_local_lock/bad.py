"""請求書に、欠番も重複もない番号を付けて発行します。

症状: 1 ワーカーでは正しいのに、4 ワーカーでは別々の請求書に同じ番号が付きます。
"""

import os
import threading

from fastapi import FastAPI

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
lock = threading.Lock()


@app.post("/invoices")
def issue(order: Order, session: RequestSession) -> dict[str, int]:
    with lock, session.begin():
        number = next_number(session)
        render(order, number)
        session.add(Invoice(number=number))
    return {"number": number, "worker": os.getpid()}


# --8<-- [end:issue]
