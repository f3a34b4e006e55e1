"""手元に期限なしで覚え、変更のたびに pub/sub で消します。

誘惑: 知らせはすぐに届くので、期限を付けて何度も読み直すのは無駄に見えます。
破綻: 知らせのない変更には気づけず、次の知らせか再起動まで古い価格を返し続けます。
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import redis.asyncio as redis
from fastapi import Body, FastAPI
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
RECONNECT_SECONDS = 0.5
Price = Annotated[int, Body(embed=True)]


# --8<-- [start:fix]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL, retry=Retry(NoBackoff(), 1)) as app.state.redis:
        listener = asyncio.create_task(listen())
        yield
        listener.cancel()


async def listen() -> None:
    """価格が変わった知らせを、このワーカーが生きている間ずっと待ちます。"""
    while True:
        try:
            async with app.state.redis.pubsub() as pubsub:
                await pubsub.subscribe("price:changed")
                async for _ in pubsub.listen():  # 購読が始まったときにも 1 件届く
                    local.clear()
        except redis.RedisError:
            await asyncio.sleep(RECONNECT_SECONDS)  # 切れていた間の知らせは届かない


# --8<-- [end:fix]
app = FastAPI(lifespan=lifespan)

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
    await app.state.redis.publish("price:changed", price)
    return {"price": price, "worker": os.getpid()}


@app.post("/import")
async def import_price(price: Price) -> dict[str, int]:
    """ほかの部署の一括更新の代わりです。Redis を直接書き換え、だれにも知らせません。"""
    await app.state.redis.set("price", price)
    return {"price": price, "worker": os.getpid()}
