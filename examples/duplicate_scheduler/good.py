"""区切りごとに、売上を集計してメールで送ります。

リースを持つ 1 つのワーカーだけが動き、区切りごとの印で、同じメールを 2 度送りません。
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from fastapi import FastAPI
from redis.asyncio.lock import Lock
from redis.exceptions import LockError

from examples.duplicate_scheduler.mailbox import (
    INTERVAL,
    REDIS_URL,
    aggregate,
    current_tick,
    router,
)

LEASE_SECONDS = 2  # 持ち主が死んでから、次の持ち主が決まるまで
KEEP_SECONDS = 86_400  # 印を残す長さ。止まっていたワーカーが戻るより、十分に長く


# --8<-- [start:schedule]
async def send_report(store: redis.Redis, tick: int) -> None:
    await aggregate(store, tick)
    if await store.set(f"sent:{tick}", 1, nx=True, ex=KEEP_SECONDS):  # 最初の 1 人だけ
        await store.rpush("mails", tick)  # メールを送る代わり
    await store.zadd("progress", {"tick": tick}, gt=True)  # 進むだけで、戻らない


async def send_due_reports(store: redis.Redis, lease: Lock) -> None:
    while await hold(lease):
        now = await current_tick(store)
        await store.zadd("progress", {"tick": now - 1}, nx=True)  # 初めてなら、いまから
        done = int(await store.zscore("progress", "tick"))
        if done >= now:
            return
        await send_report(store, done + 1)


async def hold(lease: Lock) -> bool:
    try:
        return await lease.reacquire()  # 持ち主なら、期限を延ばす
    except LockError:  # 持ち主ではない。空いていれば取る
        return await lease.acquire(blocking=False)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL) as app.state.store:
        lease = app.state.store.lock("owner", timeout=LEASE_SECONDS)
        scheduler = AsyncIOScheduler()
        scheduler.add_job(
            send_due_reports, "interval", [app.state.store, lease], seconds=INTERVAL
        )
        scheduler.start()
        yield
        scheduler.shutdown()


# --8<-- [end:schedule]
app = FastAPI(lifespan=lifespan)
app.include_router(router)
