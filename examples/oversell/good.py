"""限定 100 個の商品を売り、在庫を 1 つ減らして、売上の台帳に書きます。

在庫を確かめることと減らすことを、1 つの UPDATE で行います。
"""

import os

from fastapi import FastAPI, HTTPException
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from examples.oversell import shop
from examples.oversell.shop import ITEM, Item, RequestSession, Sale, calculate_postage

app = FastAPI(lifespan=shop.lifespan, exception_handlers={OperationalError: shop.answer_busy})
app.include_router(shop.router)


# --8<-- [start:purchase]
@app.post("/purchases")
def purchase(session: RequestSession) -> dict[str, int]:
    calculate_postage()  # 在庫の行をロックする前に済ませる
    take_one = (
        update(Item)
        .where(Item.id == ITEM, Item.quantity > 0)
        .values(quantity=Item.quantity - 1)
        .returning(Item.quantity)
    )
    if session.scalars(take_one).one_or_none() is None:
        raise HTTPException(409, "売り切れました")
    sale = Sale(item_id=ITEM)
    session.add(sale)
    session.commit()
    return {"receipt": sale.id, "worker": os.getpid()}


# --8<-- [end:purchase]
