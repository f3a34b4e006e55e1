"""来場者に通し番号を返します。番号は、全ワーカーが共有する Valkey が数えます。"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis
from fastapi import FastAPI

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")


# --8<-- [start:lifespan]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # 接続プールはワーカープロセスごとに 1 つ。起動時に用意し、終了時に閉じる
    async with redis.from_url(REDIS_URL) as app.state.redis:
        yield


# --8<-- [end:lifespan]
app = FastAPI(lifespan=lifespan)


# --8<-- [start:counter]
@app.post("/visits")
async def add_visit() -> dict[str, int]:
    visits = await app.state.redis.incr("visits")  # 加算と読み取りが 1 回の操作
    return {"visits": visits, "worker": os.getpid()}


@app.get("/visits")
async def read_visits() -> dict[str, int]:
    visits = int(await app.state.redis.get("visits") or 0)
    return {"visits": visits, "worker": os.getpid()}


# --8<-- [end:counter]
