"""売れ筋ランキングを返します。集計は、全ワーカーを通して 1 人だけが行います。"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import redis.asyncio as redis
from fastapi import FastAPI, HTTPException
from redis.exceptions import LockNotOwnedError

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
COMPUTE_SECONDS = 0.5  # 集計にかかる時間。この間に着いた全員が、まだないと判断する
FRESH_SECONDS = 60
KEEP_SECONDS = 3600  # 古くなった結果を、作り直す間の代役として残す
JITTER_SECONDS = 10  # 同時に作った結果が、同時に古くならないようにずらす
LOCK_SECONDS = 2  # 集計より十分に長く。持ち主が死んだときは、この長さだけ待つ
POLL_SECONDS = 0.1
POLLS = 80


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
    for _ in range(POLLS):
        cached, fresh = await app.state.redis.mget("ranking", "ranking:fresh")
        if cached is not None and fresh is not None:
            return {"version": int(cached), "worker": os.getpid()}
        lock = app.state.redis.lock("ranking:lock", timeout=LOCK_SECONDS)
        if await lock.acquire(blocking=False):  # 取れるのは、全ワーカーで 1 人だけ
            return {"version": await refresh(lock), "worker": os.getpid()}
        if cached is not None:  # 作り直しは任せて、古い結果ですぐに答える
            return {"version": int(cached), "worker": os.getpid()}
        await asyncio.sleep(POLL_SECONDS)  # 最初の結果ができるのを待つ
    raise HTTPException(503)


@app.post("/sales")
async def add_sale() -> dict[str, int]:
    await app.state.redis.delete("ranking:fresh")  # 新しさの印だけを消し、結果は残す
    return {"worker": os.getpid()}


# --8<-- [end:ranking]
# --8<-- [start:refresh]
async def refresh(lock: redis.lock.Lock) -> int:
    try:
        cached, fresh = await app.state.redis.mget("ranking", "ranking:fresh")
        if cached is not None and fresh is not None:
            return int(cached)  # ロックを取る直前に、ほかのワーカーが作り終えていた
        version = await compute_ranking()
        lifetime = FRESH_SECONDS + random.uniform(0, JITTER_SECONDS)
        async with app.state.redis.pipeline(transaction=True) as pipe:
            pipe.set("ranking", version, ex=KEEP_SECONDS)
            pipe.set("ranking:fresh", 1, px=int(lifetime * 1000))
            await pipe.execute()
        return version
    finally:
        with suppress(LockNotOwnedError):  # 期限が切れ、ほかのワーカーに渡っていた
            await lock.release()


# --8<-- [end:refresh]
@app.get("/computing")
async def read_computing() -> dict[str, int]:
    """集計が始まるのを待って、始めたワーカーのプロセス ID を返します。"""
    while (worker := await app.state.redis.get("computing")) is None:
        await asyncio.sleep(0.01)
    return {"computing": int(worker)}
