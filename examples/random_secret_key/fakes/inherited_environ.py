"""乱数で作った鍵を環境変数に入れ、子プロセスに受け継がせます。

誘惑: 環境変数は親から子へ渡るので、最初に作った 1 つが全ワーカーに届きそうです。
破綻: アプリを読み込むのは親ではなくワーカーで、それぞれが自分の環境変数に自分の乱数を入れます。
"""

import os
import secrets

from fastapi import FastAPI, Request
from starlette.middleware.sessions import SessionMiddleware

app = FastAPI()

# --8<-- [start:fix]
SECRET_KEY = os.environ.setdefault("SHARED_SECRET_KEY", secrets.token_hex(32))

app.add_middleware(SessionMiddleware, secret_key=SECRET_KEY, https_only=True)


# --8<-- [end:fix]
@app.post("/login")
async def login(request: Request) -> dict[str, str | int]:
    user = (await request.json())["user"]  # 実際には、先にパスワードを確かめる
    request.session["user"] = user
    return {"user": user, "worker": os.getpid()}


@app.get("/me")
async def read_me(request: Request) -> dict[str, str | int | None]:
    user = request.session.get("user")
    return {"user": user, "known": int(user is not None), "worker": os.getpid()}
