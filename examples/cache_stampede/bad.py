"""売れ筋ランキングを返します。集計は重いので、結果を Redis に覚えます。

症状: ふだんは速いのに、キャッシュが消えた瞬間にデータベースの負荷が跳ね上がります。
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis
from fastapi import FastAPI

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
COMPUTE_SECONDS = 0.5  # 集計にかかる時間。この間に着いた全員が、まだないと判断する
FRESH_SECONDS = 60


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL) as app.state.redis:
        yield


app = FastAPI(lifespan=lifespan)


async def compute_ranking() -> int:
    """重い集計の代わりです。何回目の集計かを、結果として返します。"""
    version = await app.state.redis.incr("computations")
    await app.state.redis.set("computing", os.getpid())
    await asyncio.sleep(COMPUTE_SECONDS)
    return version


# --8<-- [start:ranking]
@app.get("/ranking")
async def read_ranking() -> dict[str, int]:
    cached = await app.state.redis.get("ranking")
    if cached is not None:
        return {"version": int(cached), "worker": os.getpid()}
    version = await compute_ranking()
    await app.state.redis.set("ranking", version, ex=FRESH_SECONDS)
    return {"version": version, "worker": os.getpid()}


@app.post("/sales")
async def add_sale() -> dict[str, int]:
    await app.state.redis.delete("ranking")  # 売れたので、ランキングは古い
    return {"worker": os.getpid()}


# --8<-- [end:ranking]
@app.get("/computing")
async def read_computing() -> dict[str, int]:
    """集計が始まるのを待って、始めたワーカーのプロセス ID を返します。"""
    while (worker := await app.state.redis.get("computing")) is None:
        await asyncio.sleep(0.01)
    return {"computing": int(worker)}
