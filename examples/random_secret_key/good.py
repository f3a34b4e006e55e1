"""ログインした人の名前を Cookie に入れて署名します。鍵がなければ、起動しません。"""

import os

from fastapi import FastAPI, Request
from itsdangerous import TimestampSigner
from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp

app = FastAPI()

# --8<-- [start:key]
MIN_LENGTH = 32  # secrets.token_hex(32) なら 64 文字になる
MAX_AGE = 14 * 24 * 60 * 60  # 秒。署名してから 14 日で、Cookie は無効になる


def signing_keys() -> list[str]:
    """署名に使う鍵は最後の 1 つ。前にあるのは、検証だけに使う古い鍵。"""
    old = filter(None, os.environ.get("SECRET_KEY_FALLBACKS", "").split(","))
    keys = [*old, os.environ.get("SECRET_KEY", "")]
    if min(map(len, keys)) < MIN_LENGTH:
        raise RuntimeError(f"SECRET_KEY に {MIN_LENGTH} 文字以上の乱数を指定してください")
    return keys


class RotatingSessionMiddleware(SessionMiddleware):
    """署名には最後の鍵を使い、検証にはすべての鍵を使う。"""

    def __init__(self, app: ASGIApp, keys: list[str]) -> None:
        super().__init__(app, secret_key=keys[-1], max_age=MAX_AGE, https_only=True)
        self.signer = TimestampSigner(keys)


app.add_middleware(RotatingSessionMiddleware, keys=signing_keys())


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
