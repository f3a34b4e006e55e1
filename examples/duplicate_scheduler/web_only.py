"""定期実行をしない、Web だけのアプリです。scheduler.py と一緒に動かします。"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis
from fastapi import FastAPI

from examples.duplicate_scheduler.mailbox import REDIS_URL, router


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(REDIS_URL) as app.state.store:
        yield


app = FastAPI(lifespan=lifespan)
app.include_router(router)
