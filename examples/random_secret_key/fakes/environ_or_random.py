"""環境変数があれば使い、なければ乱数にします。

誘惑: 手元では何も設定せずに動き、本番では設定した鍵が使われます。
破綻: 変数の名前を取り違えても黙って起動し、ワーカーごとの乱数に戻ります。
"""

import os
import secrets

from fastapi import FastAPI, Request
from starlette.middleware.sessions import SessionMiddleware

app = FastAPI()

# --8<-- [start:fix]
# デプロイの設定にあるのは SECRET_KEY で、SESSION_SECRET_KEY ではない
SECRET_KEY = os.environ.get("SESSION_SECRET_KEY") or secrets.token_hex(32)

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
