"""手元に覚えるのを 2 秒までにし、変更の知らせは送りません。

誘惑: 期限があれば、放っておいても必ず新しくなります。
破綻: 期限が来るまでの 2 秒は、値上げを受けなかったワーカーがそろって古い価格を返します。
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import redis.asyncio as redis
from fastapi import Body, FastAPI
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
TTL = 2  # 秒
Price = Annotated[int, Body(embed=True)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL, retry=Retry(NoBackoff(), 1)) as app.state.redis:
        yield


app = FastAPI(lifespan=lifespan)

# --8<-- [start:fix]
local: dict[str, tuple[int, float]] = {}  # 価格と、期限の時刻


@app.get("/price")
async def read_price() -> dict[str, int]:
    price, expires = local.get("price", (0, 0.0))
    if time.monotonic() >= expires:
        expires = time.monotonic() + TTL  # 読む前に測る。読んでからでは期限が延びる
        price = int(await app.state.redis.get("price") or 0)
        local["price"] = price, expires
    return {"price": price, "worker": os.getpid()}


# --8<-- [end:fix]
@app.put("/price")
async def change_price(price: Price) -> dict[str, int]:
    await app.state.redis.set("price", price)
    local.clear()
    return {"price": price, "worker": os.getpid()}


@app.post("/import")
async def import_price(price: Price) -> dict[str, int]:
    """ほかの部署の一括更新の代わりです。Redis を直接書き換え、だれにも知らせません。"""
    await app.state.redis.set("price", price)
    return {"price": price, "worker": os.getpid()}
