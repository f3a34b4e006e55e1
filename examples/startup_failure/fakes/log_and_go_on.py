"""設定を読めなくても、エラーをログに書いて起動を続けます。

誘惑: 起動に失敗しなければ、設定の間違いで全員が落ちることはありません。
破綻: デプロイは成功と報告され、4 つのワーカーが、すべての注文に 500 を返します。
"""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import HttpUrl, PositiveFloat, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from examples.startup_failure.products import load_products


class Settings(BaseSettings):
    """環境変数 PAYMENT_URL と PAYMENT_TIMEOUT です。"""

    model_config = SettingsConfigDict(hide_input_in_errors=True)  # 秘密をログに出さない
    payment_url: HttpUrl
    payment_timeout: PositiveFloat  # 秒


# --8<-- [start:fix]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    try:
        app.state.settings = Settings()
    except ValidationError:
        logging.exception("設定を読めません")
    load_products()
    yield


# --8<-- [end:fix]
app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def add_order() -> dict[str, float]:
    return {"worker": os.getpid(), "payment_timeout": app.state.settings.payment_timeout}
