"""在庫の行をロックしながら読み、確かめてから減らします。"""

import os

from fastapi import FastAPI, HTTPException
from sqlalchemy.exc import OperationalError

from examples.oversell import shop
from examples.oversell.shop import ITEM, Item, RequestSession, Sale, calculate_postage

app = FastAPI(lifespan=shop.lifespan, exception_handlers={OperationalError: shop.answer_busy})
app.include_router(shop.router)


# --8<-- [start:purchase]
@app.post("/purchases")
def purchase(session: RequestSession) -> dict[str, int]:
    calculate_postage()
    item = session.get_one(Item, ITEM, with_for_update=True)  # ここで順番を待つ
    if item.quantity < 1:
        raise HTTPException(409, "売り切れました")
    item.quantity -= 1
    sale = Sale(item_id=ITEM)
    session.add(sale)
    session.commit()
    return {"receipt": sale.id, "worker": os.getpid()}


# --8<-- [end:purchase]
