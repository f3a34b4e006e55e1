"""集計と送信を、Redis のロックで 1 人ずつにします。

誘惑: 全ワーカーに効くロックなので、同時に動くワーカーは必ず 1 つになります。
破綻: 1 人ずつ順番に送るだけで、待っていた残りの 3 人も、自分の番が来れば送ります。
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


# --8<-- [start:fix]
async def send_report(store: redis.Redis) -> None:
    tick = await current_tick(store)
    async with store.lock("report", timeout=10):
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


# --8<-- [end:fix]
app = FastAPI(lifespan=lifespan)
app.include_router(router)
