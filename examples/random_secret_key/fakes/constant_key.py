"""鍵をコードに書きます。

誘惑: どのワーカーも、何度起動しても同じ鍵になり、ログインは途切れません。
破綻: コードを読める人や、説明書の例を覚えている人が、だれの Cookie でも作れます。
"""

import os

from fastapi import FastAPI, Request
from starlette.middleware.sessions import SessionMiddleware

app = FastAPI()

# --8<-- [start:fix]
app.add_middleware(SessionMiddleware, secret_key="your-secret-key", https_only=True)


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
