"""読んでから書く手順のまま SERIALIZABLE で動かし、失敗したらやり直します。"""

import os
import random
import time

from fastapi import FastAPI, HTTPException, Request
from psycopg.errors import SerializationFailure
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from examples.oversell import shop
from examples.oversell.shop import ITEM, Item, Sale, calculate_postage

app = FastAPI(lifespan=shop.lifespan, exception_handlers={OperationalError: shop.answer_busy})
app.include_router(shop.router)
ATTEMPTS = 1000  # 競合が続く間、やり直す回数の上限
BACKOFF_SECONDS = 0.02


# --8<-- [start:purchase]
@app.post("/purchases")
def purchase(request: Request) -> dict[str, int]:
    calculate_postage()
    engine = request.app.state.engine.execution_options(isolation_level="SERIALIZABLE")
    for _ in range(ATTEMPTS):
        try:
            with Session(engine, expire_on_commit=False) as session:
                return sell(session)
        except OperationalError as error:
            if not isinstance(error.orig, SerializationFailure):
                raise
        time.sleep(random.uniform(0, BACKOFF_SECONDS))  # いっせいにやり直さない
    raise HTTPException(503, "混み合っています")


def sell(session: Session) -> dict[str, int]:
    item = session.get_one(Item, ITEM)  # やり直すたびに読み直す
    if item.quantity < 1:
        raise HTTPException(409, "売り切れました")
    item.quantity -= 1
    sale = Sale(item_id=ITEM)
    session.add(sale)
    session.commit()
    return {"receipt": sale.id, "worker": os.getpid()}


# --8<-- [end:purchase]
