"""限定 100 個の商品を売り、在庫を 1 つ減らして、売上の台帳に書きます。

症状: 100 個しかない商品が 300 個売れ、在庫はまだ残っていることになっています。
"""

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
    item = session.get_one(Item, ITEM)
    if item.quantity < 1:
        raise HTTPException(409, "売り切れました")
    calculate_postage()
    item.quantity -= 1
    sale = Sale(item_id=ITEM)
    session.add(sale)
    session.commit()
    return {"receipt": sale.id, "worker": os.getpid()}


# --8<-- [end:purchase]
