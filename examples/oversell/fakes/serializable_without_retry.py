"""トランザクションの分離レベルを、最も厳しい SERIALIZABLE にします。

誘惑: 分離レベルを変えるだけで、売りすぎは本当に起きなくなります。
破綻: 競合したトランザクションは失敗し、やり直さないので、買えたはずの人に 500 が返ります。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from sqlalchemy.exc import OperationalError

from examples.oversell import shop
from examples.oversell.shop import ITEM, Item, RequestSession, Sale, calculate_postage


# --8<-- [start:fix]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with shop.lifespan(app):
        engine = app.state.engine
        app.state.engine = engine.execution_options(isolation_level="SERIALIZABLE")
        yield


app = FastAPI(lifespan=lifespan, exception_handlers={OperationalError: shop.answer_busy})
app.include_router(shop.router)


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


# --8<-- [end:fix]
