"""fastapi-cache2 の InMemoryBackend に覚えます。

誘惑: 「辞書は問題、InMemoryBackend は推奨」と書かれた資料があり、FastAPI 専用の道具に見えます。
破綻: 名前のとおりプロセスのメモリにある辞書で、ワーカーごとに別のものです。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Body, FastAPI
from fastapi_cache import FastAPICache
from fastapi_cache.backends.inmemory import InMemoryBackend

DATABASE = Path(os.environ.get("DATA_DIR", ".")) / "price.txt"  # データベースの代わり


def load_price() -> int:
    return int(DATABASE.read_text()) if DATABASE.exists() else 100


# --8<-- [start:fix]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    FastAPICache.init(InMemoryBackend())
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/price")
async def read_price() -> dict[str, int]:
    cached = await FastAPICache.get_backend().get("price")
    if cached is not None:
        return {"price": int(cached), "computed": 0, "worker": os.getpid()}
    price = load_price()
    await FastAPICache.get_backend().set("price", str(price).encode(), expire=60)
    return {"price": price, "computed": 1, "worker": os.getpid()}


# --8<-- [end:fix]
@app.put("/price")
async def change_price(price: Annotated[int, Body(embed=True)]) -> dict[str, int]:
    DATABASE.write_text(str(price))
    if await FastAPICache.get_backend().get("price") is not None:
        await FastAPICache.clear(key="price")  # ないキーを消すと KeyError になる
    return {"price": price, "worker": os.getpid()}
