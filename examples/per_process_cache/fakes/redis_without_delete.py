"""Redis に有効期限付きで覚え、値上げのときには何もしません。

誘惑: 全ワーカーが同じ値を見るうえに、有効期限が切れればいつか新しくなります。
破綻: 期限の 60 秒が過ぎるまで、4 つのワーカーがそろって古い価格を返し続けます。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import redis.asyncio as redis
from fastapi import Body, FastAPI

DATABASE = Path(os.environ.get("DATA_DIR", ".")) / "price.txt"  # データベースの代わり
REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")


def load_price() -> int:
    return int(DATABASE.read_text()) if DATABASE.exists() else 100


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL) as app.state.redis:
        yield


app = FastAPI(lifespan=lifespan)


# --8<-- [start:fix]
@app.get("/price")
async def read_price() -> dict[str, int]:
    cached = await app.state.redis.get("price")
    if cached is not None:
        return {"price": int(cached), "computed": 0, "worker": os.getpid()}
    price = load_price()
    await app.state.redis.set("price", price, ex=60)
    return {"price": price, "computed": 1, "worker": os.getpid()}


@app.put("/price")
async def change_price(price: Annotated[int, Body(embed=True)]) -> dict[str, int]:
    DATABASE.write_text(str(price))
    return {"price": price, "worker": os.getpid()}


# --8<-- [end:fix]
