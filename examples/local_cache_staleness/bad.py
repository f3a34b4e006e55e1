"""商品の価格を返します。Redis への往復を省くため、一度読んだ価格を手元の辞書に覚えます。

症状: 価格を変えても、一部のワーカーは再起動するまで古い価格を返し続けます。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import redis.asyncio as redis
from fastapi import Body, FastAPI
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
Price = Annotated[int, Body(embed=True)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL, retry=Retry(NoBackoff(), 1)) as app.state.redis:
        yield


app = FastAPI(lifespan=lifespan)

# --8<-- [start:cache]
local: dict[str, int] = {}  # このプロセスの手元


@app.get("/price")
async def read_price() -> dict[str, int]:
    if "price" not in local:
        local["price"] = int(await app.state.redis.get("price") or 0)
    return {"price": local["price"], "worker": os.getpid()}


@app.put("/price")
async def change_price(price: Price) -> dict[str, int]:
    await app.state.redis.set("price", price)
    local.clear()
    return {"price": price, "worker": os.getpid()}


# --8<-- [end:cache]
@app.post("/import")
async def import_price(price: Price) -> dict[str, int]:
    """ほかの部署の一括更新の代わりです。Redis を直接書き換え、だれにも知らせません。"""
    await app.state.redis.set("price", price)
    return {"price": price, "worker": os.getpid()}
