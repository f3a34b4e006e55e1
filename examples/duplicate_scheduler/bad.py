"""区切りごとに、売上を集計してメールで送ります。

症状: 1 通のはずのメールが 4 通届き、ワーカーを増やすとさらに増えます。
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from fastapi import FastAPI

from examples.duplicate_scheduler.mailbox import (
    INTERVAL,
    REDIS_URL,
    aggregate,
    current_tick,
    router,
)


# --8<-- [start:schedule]
async def send_report(store: redis.Redis) -> None:
    tick = await current_tick(store)
    await aggregate(store, tick)
    await store.rpush("mails", tick)  # メールを送る代わり


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL) as app.state.store:
        scheduler = AsyncIOScheduler()
        scheduler.add_job(send_report, "interval", [app.state.store], seconds=INTERVAL)
        scheduler.start()
        yield
        scheduler.shutdown()


# --8<-- [end:schedule]
app = FastAPI(lifespan=lifespan)
app.include_router(router)
