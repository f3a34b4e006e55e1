"""設定を読めなければ、終了コード 1 で終わります。

誘惑: sys.exit(1) と書いたのだから、サーバーは失敗として終わるはずです。
破綻: 終わるのは 1 つのワーカーで、切り替えは済んでおり、uvicorn の親は終了コード 0 を返します。
"""

import os
import sys
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
    except ValidationError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    load_products()
    yield


# --8<-- [end:fix]
app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def add_order() -> dict[str, float]:
    return {"worker": os.getpid(), "payment_timeout": app.state.settings.payment_timeout}
