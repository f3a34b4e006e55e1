"""ルートを async def にして、asyncio.Lock で 1 人ずつにします。

誘惑: FastAPI は非同期なので、ロックも asyncio のものがふさわしく見えます。
破綻: asyncio.Lock も、順番を守らせるのは 1 つのプロセスの中だけです。
"""

import asyncio
import os

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

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

# --8<-- [start:fix]
lock = asyncio.Lock()


@app.post("/invoices")
async def issue(order: Order, session: RequestSession) -> dict[str, int]:
    async with lock:
        number = await run_in_threadpool(issue_next, order, session)
    return {"number": number, "worker": os.getpid()}


def issue_next(order: Order, session: RequestSession) -> int:
    with session.begin():
        number = next_number(session)
        render(order, number)
        session.add(Invoice(number=number))
    return number


# --8<-- [end:fix]
