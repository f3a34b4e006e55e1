"""starsessions で、セッションを 1 つの JSON として Redis に置きます。

誘惑: 保守されたライブラリに任せるほうが、自分で書くより間違いが減ります。
破綻: 全体を読んでから全体を書き戻すので、同時の変更は、最後に書いた 1 つに消されます。
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio as redis
from fastapi import FastAPI, HTTPException, Request
from starsessions import (
    SessionAutoloadMiddleware,
    SessionMiddleware,
    regenerate_session_id,
)
from starsessions.stores.redis import RedisStore

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
SESSION_SECONDS = 30 * 60
STOCK_SECONDS = 0.1  # 在庫を問い合わせる時間のつもり


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)

# --8<-- [start:fix]
client = redis.from_url(REDIS_URL)
app.add_middleware(SessionAutoloadMiddleware)
app.add_middleware(
    SessionMiddleware,
    store=RedisStore(connection=client),
    lifetime=SESSION_SECONDS,
    rolling=True,
)


@app.post("/login")
async def login(request: Request) -> dict[str, str | int]:
    user = (await request.json())["user"]
    regenerate_session_id(request)
    request.session.clear()
    request.session.update({"user": user, "items": 0})
    return {"user": user, "worker": os.getpid()}


@app.get("/me")
async def read_me(request: Request) -> dict[str, str | int | None]:
    user, items = request.session.get("user"), request.session.get("items", 0)
    return {"user": user, "items": items, "worker": os.getpid()}


@app.post("/cart")
async def add_item(request: Request) -> dict[str, int]:
    if "user" not in request.session:
        raise HTTPException(401, "ログインしてください")
    await asyncio.sleep(STOCK_SECONDS)
    request.session["items"] += 1
    return {"items": request.session["items"], "worker": os.getpid()}


@app.post("/logout")
async def logout(request: Request) -> dict[str, int]:
    request.session.clear()
    return {"worker": os.getpid()}


# --8<-- [end:fix]
