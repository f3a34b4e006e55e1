"""読んでから書き終わるまでを、threading.Lock で 1 人ずつにします。

誘惑: 1 ワーカーで試すと、ちょうど 100 個で売り切れます。
破綻: ロックはワーカーごとに 1 つあるので、4 人が同時に同じ在庫を読みます。
"""

import os
import threading

from fastapi import FastAPI, HTTPException
from sqlalchemy.exc import OperationalError

from examples.oversell import shop
from examples.oversell.shop import ITEM, Item, RequestSession, Sale, calculate_postage

app = FastAPI(lifespan=shop.lifespan, exception_handlers={OperationalError: shop.answer_busy})
app.include_router(shop.router)


# --8<-- [start:fix]
lock = threading.Lock()


@app.post("/purchases")
def purchase(session: RequestSession) -> dict[str, int]:
    with lock:
        item = session.get_one(Item, ITEM)
        if item.quantity < 1:
            raise HTTPException(409, "売り切れました")
        calculate_postage()
        item.quantity -= 1
        sale = Sale(item_id=ITEM)
        session.add(sale)
        session.commit()
        return {"receipt": sale.id, "worker": os.getpid()}


# --8<-- [end:fix]
