"""切り替える前に、環境変数があるかどうかを点検します。

誘惑: 必要な変数がそろっていれば、起動に失敗する理由はないはずです。
破綻: 変数はあっても値が読めず、点検を通ったあとで、すべてのワーカーが起動に失敗します。
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import HttpUrl, PositiveFloat
from pydantic_settings import BaseSettings, SettingsConfigDict

from examples.startup_failure.products import load_products


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


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def add_order() -> dict[str, float]:
    return {"worker": os.getpid(), "payment_timeout": app.state.settings.payment_timeout}


# --8<-- [start:fix]
if __name__ == "__main__":
    missing = {"PAYMENT_URL", "PAYMENT_TIMEOUT"} - os.environ.keys()
    if missing:
        sys.exit(f"環境変数がありません: {missing}")
# --8<-- [end:fix]
