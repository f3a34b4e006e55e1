"""ロックをやめ、データベースの連番（SEQUENCE）から番号をもらいます。

誘惑: アトミックで速く、同じ番号は二度と出ません。
破綻: 発行をやめても番号は戻らないので、欠番ができます。
"""

import os

from fastapi import FastAPI
from sqlalchemy import Sequence

from examples.process_local_lock import office
from examples.process_local_lock.office import Invoice, Order, RequestSession, render

app = FastAPI(lifespan=office.lifespan)
app.include_router(office.router)

# --8<-- [start:fix]
numbers = Sequence("invoice_numbers", metadata=office.Base.metadata)


@app.post("/invoices")
def issue(order: Order, session: RequestSession) -> dict[str, int]:
    with session.begin():
        number = session.scalar(numbers.next_value())
        render(order, number)
        session.add(Invoice(number=number))
    return {"number": number, "worker": os.getpid()}


# --8<-- [end:fix]
