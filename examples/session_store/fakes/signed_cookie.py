"""Starlette の SessionMiddleware で、セッションを丸ごと Cookie に入れます。

誘惑: サーバーに何も置かないので、ワーカーが何個でもログインは途切れません。
破綻: 配った Cookie は取り消せず、同時の変更は、最後に届いた Cookie の分しか残りません。
"""

import asyncio
import os

from fastapi import FastAPI, HTTPException, Request
from starlette.middleware.sessions import SessionMiddleware

STOCK_SECONDS = 0.1  # 在庫を問い合わせる時間のつもり

app = FastAPI()

# --8<-- [start:fix]
app.add_middleware(SessionMiddleware, secret_key=os.environ["SECRET_KEY"], https_only=True)


@app.post("/login")
async def login(request: Request) -> dict[str, str | int]:
    user = (await request.json())["user"]
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
