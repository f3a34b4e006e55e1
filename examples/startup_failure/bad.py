"""注文を受け付けます。決済サービスの設定を、環境変数から読みます。

症状: 設定を間違えてデプロイすると、全員が落ちます。uvicorn は終了コード 0 を返します。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import HttpUrl, PositiveFloat
from pydantic_settings import BaseSettings, SettingsConfigDict

from examples.startup_failure.products import load_products


# --8<-- [start:settings]
class Settings(BaseSettings):
    """環境変数 PAYMENT_URL と PAYMENT_TIMEOUT です。"""

    model_config = SettingsConfigDict(hide_input_in_errors=True)  # 秘密をログに出さない
    payment_url: HttpUrl
    payment_timeout: PositiveFloat  # 秒


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.settings = Settings()
    load_products()
    yield


# --8<-- [end:settings]
app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def add_order() -> dict[str, float]:
    return {"worker": os.getpid(), "payment_timeout": app.state.settings.payment_timeout}
