"""Redis のロックで 1 人にし、期限を集計より短い 0.1 秒にします。

誘惑: 期限が短いほど、持ち主が死んだときの待ち時間も短くなります。
破綻: 集計に 0.5 秒かかるのでロックが先に切れ、次々に別のワーカーが集計を始めます。
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import redis.asyncio as redis
from fastapi import FastAPI
from redis.exceptions import LockNotOwnedError

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


# --8<-- [start:fix]
LOCK_SECONDS = 0.1  # 持ち主が死んでも、すぐに引き継げるように短くする


@app.get("/ranking")
async def read_ranking() -> dict[str, int]:
    while (cached := await app.state.redis.get("ranking")) is None:
        lock = app.state.redis.lock("ranking:lock", timeout=LOCK_SECONDS)
        if await lock.acquire(blocking=False):
            version = await compute_ranking()
            await app.state.redis.set("ranking", version, ex=FRESH_SECONDS)
            with suppress(LockNotOwnedError):
                await lock.release()
        else:
            await asyncio.sleep(0.05)
    return {"version": int(cached), "worker": os.getpid()}


# --8<-- [end:fix]
@app.post("/sales")
async def add_sale() -> dict[str, int]:
    await app.state.redis.delete("ranking")  # 売れたので、ランキングは古い
    return {"worker": os.getpid()}


@app.get("/computing")
async def read_computing() -> dict[str, int]:
    """集計が始まるのを待って、始めたワーカーのプロセス ID を返します。"""
    while (worker := await app.state.redis.get("computing")) is None:
        await asyncio.sleep(0.01)
    return {"computing": int(worker)}
