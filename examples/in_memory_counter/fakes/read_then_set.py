"""Valkey から読み、1 を足して書き戻します。

誘惑: 外に置けばよいと聞いて Valkey に移せば、どのワーカーからも同じ値が見えます。
破綻: GET と SET の間に別のリクエストが同じ値を読み、片方の加算が上書きで消えます。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis
from fastapi import FastAPI

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL) as app.state.redis:
        yield


app = FastAPI(lifespan=lifespan)


# --8<-- [start:fix]
@app.post("/visits")
async def add_visit() -> dict[str, int]:
    visits = int(await app.state.redis.get("visits") or 0)
    await app.state.redis.set("visits", visits + 1)
    return {"visits": visits + 1, "worker": os.getpid()}


# --8<-- [end:fix]
@app.get("/visits")
async def read_visits() -> dict[str, int]:
    visits = int(await app.state.redis.get("visits") or 0)
    return {"visits": visits, "worker": os.getpid()}
