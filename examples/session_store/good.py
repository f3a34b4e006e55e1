"""ログインと買い物かごです。セッションは、全ワーカーが共有する Redis に置きます。"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import redis.asyncio as redis
from fastapi import Body, Cookie, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
TIMEOUT = 2  # 秒。黙り込んだ Redis を待つ上限
SESSION_SECONDS = 30 * 60  # 最後に使ってから 30 分で消える
STOCK_SECONDS = 0.1  # 在庫を問い合わせる時間のつもり


# --8<-- [start:redis]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(
        REDIS_URL,
        decode_responses=True,
        socket_connect_timeout=TIMEOUT,
        socket_timeout=TIMEOUT,
    ) as app.state.redis:
        yield


app = FastAPI(lifespan=lifespan)
SessionId = Annotated[str, Cookie()]  # Cookie の session_id


@app.exception_handler(redis.RedisError)
async def sessions_unavailable(request: Request, error: redis.RedisError) -> JSONResponse:
    """だれなのかを確かめられない。ログアウト（401）とは区別する。"""
    return JSONResponse({"detail": "しばらくしてからお試しください"}, 503)


# --8<-- [end:redis]
# --8<-- [start:session]
def key(session_id: str) -> str:
    return f"session:{session_id}"


async def load(session_id: str) -> dict[str, str]:
    """セッションを読み、期限を延ばす。なければ空。"""
    async with app.state.redis.pipeline(transaction=True) as pipe:
        pipe.hgetall(key(session_id))
        pipe.expire(key(session_id), SESSION_SECONDS)
        session, _ = await pipe.execute()
    return session


@app.post("/login")
async def login(
    response: Response, user: Annotated[str, Body(embed=True)], session_id: SessionId = ""
) -> dict[str, str | int]:
    new_id = secrets.token_urlsafe(32)  # 実際には、先にパスワードを確かめる
    async with app.state.redis.pipeline(transaction=True) as pipe:
        pipe.delete(key(session_id))  # ログイン前の番号は引き継がない
        pipe.hset(key(new_id), mapping={"user": user, "items": 0})
        pipe.expire(key(new_id), SESSION_SECONDS)
        await pipe.execute()
    response.set_cookie("session_id", new_id, httponly=True, samesite="lax", secure=True)
    return {"user": user, "worker": os.getpid()}


@app.get("/me")
async def read_me(session_id: SessionId = "") -> dict[str, str | int | None]:
    session = await load(session_id)
    user, items = session.get("user"), int(session.get("items", 0))
    return {"user": user, "items": items, "worker": os.getpid()}


@app.post("/cart")
async def add_item(session_id: SessionId = "") -> dict[str, int]:
    session = await load(session_id)
    if "user" not in session:
        raise HTTPException(401, "ログインしてください")
    await asyncio.sleep(STOCK_SECONDS)
    async with app.state.redis.pipeline(transaction=True) as pipe:
        pipe.hincrby(key(session_id), "items", 1)  # 全体を書き戻さず、1 か所だけ足す
        pipe.expire(key(session_id), SESSION_SECONDS)
        items, _ = await pipe.execute()
    return {"items": items, "worker": os.getpid()}


@app.post("/logout")
async def logout(response: Response, session_id: SessionId = "") -> dict[str, int]:
    await app.state.redis.delete(key(session_id))
    response.delete_cookie("session_id", httponly=True, samesite="lax", secure=True)
    return {"worker": os.getpid()}


# --8<-- [end:session]
