"""threading.Lock を、プロセスの間で使える multiprocessing.Lock に替えます。

誘惑: 名前のとおり、プロセスどうしで順番を守らせるためのロックです。
破綻: 各ワーカーがモジュールを読み込んで自分のロックを作るので、別々のロックになります。
"""

import multiprocessing
import os

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

# --8<-- [start:fix]
lock = multiprocessing.Lock()


@app.post("/invoices")
def issue(order: Order, session: RequestSession) -> dict[str, int]:
    with lock, session.begin():
        number = next_number(session)
        render(order, number)
        session.add(Invoice(number=number))
    return {"number": number, "worker": os.getpid()}


# --8<-- [end:fix]
