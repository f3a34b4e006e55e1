"""ロックを取る関数を、番号を読むのと同じ SELECT に入れます。

誘惑: データベースとの往復が 1 回減り、ロックはすべてのワーカーに効きます。
破綻: SELECT が見る行は、ロックを待ち始める前に決まるので、待った人は古い番号を読みます。
"""

import os

from fastapi import FastAPI
from sqlalchemy import text

from examples.process_local_lock import office
from examples.process_local_lock.office import Invoice, Order, RequestSession, render

app = FastAPI(lifespan=office.lifespan)
app.include_router(office.router)

# --8<-- [start:fix]
LOCK_AND_READ = text("""
    SELECT coalesce(max(number), 0) + 1 AS number, pg_advisory_xact_lock(20) FROM invoices
""")


@app.post("/invoices")
def issue(order: Order, session: RequestSession) -> dict[str, int]:
    with session.begin():
        number = session.execute(LOCK_AND_READ).one().number
        render(order, number)
        session.add(Invoice(number=number))
    return {"number": number, "worker": os.getpid()}


# --8<-- [end:fix]
