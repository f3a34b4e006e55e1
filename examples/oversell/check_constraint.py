"""確かめずに減らし、負になったらデータベースに断らせます。"""

import os

from fastapi import FastAPI, HTTPException
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError, OperationalError

from examples.oversell import shop
from examples.oversell.shop import ITEM, Item, RequestSession, Sale, calculate_postage

app = FastAPI(lifespan=shop.lifespan, exception_handlers={OperationalError: shop.answer_busy})
app.include_router(shop.router)


# --8<-- [start:purchase]
@app.post("/purchases")
def purchase(session: RequestSession) -> dict[str, int]:
    calculate_postage()
    take_one = update(Item).where(Item.id == ITEM).values(quantity=Item.quantity - 1)
    try:
        session.execute(take_one)
    except IntegrityError:  # CHECK (quantity >= 0)
        raise HTTPException(409, "売り切れました") from None
    sale = Sale(item_id=ITEM)
    session.add(sale)
    session.commit()
    return {"receipt": sale.id, "worker": os.getpid()}


# --8<-- [end:purchase]
