"""在庫を見て断ったあと、減らす直前に FOR UPDATE で行をロックし、もう一度確かめます。

誘惑: ロックを持つ時間が短く、ロックの中で確かめ直してもいます。
破綻: SQLAlchemy は最初に読んだ値を持ち続け、ロックしながら読んだ新しい値を捨てます。
"""

import os

from fastapi import FastAPI, HTTPException
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from examples.oversell import shop
from examples.oversell.shop import ITEM, Item, RequestSession, Sale, calculate_postage

app = FastAPI(lifespan=shop.lifespan, exception_handlers={OperationalError: shop.answer_busy})
app.include_router(shop.router)


# --8<-- [start:fix]
@app.post("/purchases")
def purchase(session: RequestSession) -> dict[str, int]:
    item = session.get_one(Item, ITEM)
    if item.quantity < 1:
        raise HTTPException(409, "売り切れました")
    calculate_postage()
    session.scalars(select(Item).where(Item.id == ITEM).with_for_update()).one()
    if item.quantity < 1:  # ロックを取ったので、もう変わらないはず
        raise HTTPException(409, "売り切れました")
    item.quantity -= 1
    sale = Sale(item_id=ITEM)
    session.add(sale)
    session.commit()
    return {"receipt": sale.id, "worker": os.getpid()}


# --8<-- [end:fix]
