"""ログインした人の名前を Cookie に入れて署名します。鍵は、起動のたびに乱数で作ります。

症状: ログインした直後なのにログアウトしていることがあり、デプロイすると全員がログアウトします。
"""

import os
import secrets

from fastapi import FastAPI, Request
from starlette.middleware.sessions import SessionMiddleware

app = FastAPI()

# --8<-- [start:key]
SECRET_KEY = secrets.token_hex(32)  # 推測できない、十分に長い鍵

app.add_middleware(SessionMiddleware, secret_key=SECRET_KEY, https_only=True)


# --8<-- [end:key]
# --8<-- [start:routes]
@app.post("/login")
async def login(request: Request) -> dict[str, str | int]:
    user = (await request.json())["user"]  # 実際には、先にパスワードを確かめる
    request.session["user"] = user
    return {"user": user, "worker": os.getpid()}


@app.get("/me")
async def read_me(request: Request) -> dict[str, str | int | None]:
    user = request.session.get("user")
    return {"user": user, "known": int(user is not None), "worker": os.getpid()}


# --8<-- [end:routes]
