"""ログインと買い物かごです。セッションは、メモリの辞書に覚えます。

症状: ログインした直後なのに、画面を開き直すたびにログアウトしたり戻ったりします。
"""

import asyncio
import os
import secrets
from typing import Annotated, Any

from fastapi import Body, Cookie, FastAPI, HTTPException, Response

STOCK_SECONDS = 0.1  # 在庫を問い合わせる時間のつもり

app = FastAPI()
SessionId = Annotated[str, Cookie()]  # Cookie の session_id

# --8<-- [start:session]
sessions: dict[str, dict[str, Any]] = {}  # このプロセスのメモリにある


@app.post("/login")
async def login(
    response: Response, user: Annotated[str, Body(embed=True)]
) -> dict[str, str | int]:
    session_id = secrets.token_urlsafe(32)  # 実際には、先にパスワードを確かめる
    sessions[session_id] = {"user": user, "items": 0}
    response.set_cookie("session_id", session_id, httponly=True, samesite="lax", secure=True)
    return {"user": user, "worker": os.getpid()}


@app.get("/me")
async def read_me(session_id: SessionId = "") -> dict[str, str | int | None]:
    session = sessions.get(session_id, {})
    user, items = session.get("user"), session.get("items", 0)
    return {"user": user, "items": items, "worker": os.getpid()}


@app.post("/cart")
async def add_item(session_id: SessionId = "") -> dict[str, int]:
    session = sessions.get(session_id)
    if session is None:
        raise HTTPException(401, "ログインしてください")
    await asyncio.sleep(STOCK_SECONDS)
    session["items"] += 1
    return {"items": session["items"], "worker": os.getpid()}


@app.post("/logout")
async def logout(response: Response, session_id: SessionId = "") -> dict[str, int]:
    sessions.pop(session_id, None)
    response.delete_cookie("session_id", httponly=True, samesite="lax", secure=True)
    return {"worker": os.getpid()}


# --8<-- [end:session]
