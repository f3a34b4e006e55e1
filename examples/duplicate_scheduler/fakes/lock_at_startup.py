"""起動のときに Redis のキーを取れた 1 人だけが、スケジューラーを動かします。

誘惑: 起動の 1 回だけで決まるので、期限も延長も要りません。
破綻: 持ち主が死んでもキーは残り、代わりに起動したワーカーもキーを取れません。
"""

import os
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


# --8<-- [start:fix]
async def send_report(store: redis.Redis) -> None:
    tick = await current_tick(store)
    await aggregate(store, tick)
    await store.rpush("mails", tick)  # メールを送る代わり


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL) as app.state.store:
        scheduler = AsyncIOScheduler()
        scheduler.add_job(send_report, "interval", [app.state.store], seconds=INTERVAL)
        if await app.state.store.set("scheduler", os.getpid(), nx=True):
            scheduler.start()
        yield
        if scheduler.running:
            await app.state.store.delete("scheduler")
            scheduler.shutdown()


# --8<-- [end:fix]
app = FastAPI(lifespan=lifespan)
app.include_router(router)
