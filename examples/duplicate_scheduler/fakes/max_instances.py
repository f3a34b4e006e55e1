"""APScheduler に、同時に動かす数は 1 つだと伝えます。

誘惑: max_instances=1 は「同時に 1 つ」で、id と replace_existing が二重の登録も防ぎます。
破綻: スケジューラーはワーカーごとにあり、隣のワーカーのスケジューラーは数えません。
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
    await aggregate(store, tick)
    await store.rpush("mails", tick)  # メールを送る代わり


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL) as app.state.store:
        scheduler = AsyncIOScheduler()
        scheduler.add_job(
            send_report,
            "interval",
            [app.state.store],
            seconds=INTERVAL,
            id="report",
            replace_existing=True,
            coalesce=True,
            max_instances=1,
        )
        scheduler.start()
        yield
        scheduler.shutdown()


# --8<-- [end:fix]
app = FastAPI(lifespan=lifespan)
app.include_router(router)
