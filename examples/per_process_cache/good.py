"""商品の価格を返します。一度読んだ価格は、全ワーカーが共有する Redis に覚えます。"""

import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import redis.asyncio as redis
from fastapi import Body, FastAPI
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

DATABASE = Path(os.environ.get("DATA_DIR", ".")) / "price.txt"  # データベースの代わり
REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
TIMEOUT = 0.5  # 秒。黙り込んだ Redis を待つ上限
TTL = 60  # 秒。捨てそこねた古い価格が残る上限


def load_price() -> int:
    return int(DATABASE.read_text()) if DATABASE.exists() else 100


# --8<-- [start:lifespan]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with redis.from_url(
        REDIS_URL,
        socket_connect_timeout=TIMEOUT,
        socket_timeout=TIMEOUT,
        # Redis の再起動で切れた接続は、1 回だけつなぎ直す。時間切れは繰り返さない
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    ) as app.state.redis:
        yield


@contextmanager
def optional_cache() -> Iterator[None]:
    """Redis が使えなければ、記録を残してキャッシュなしで続けます。"""
    try:
        yield
    except redis.RedisError as error:
        logging.getLogger(__name__).warning("キャッシュなしで続けます: %s", error)


# --8<-- [end:lifespan]
app = FastAPI(lifespan=lifespan)


# --8<-- [start:cache]
@app.get("/price")
async def read_price() -> dict[str, int]:
    with optional_cache():
        cached = await app.state.redis.get("price")
        if cached is not None:
            return {"price": int(cached), "computed": 0, "worker": os.getpid()}
    price = load_price()
    with optional_cache():
        await app.state.redis.set("price", price, ex=TTL)
    return {"price": price, "computed": 1, "worker": os.getpid()}


@app.put("/price")
async def change_price(price: Annotated[int, Body(embed=True)]) -> dict[str, int]:
    DATABASE.write_text(str(price))
    with optional_cache():
        await app.state.redis.delete("price")  # 書いてから捨てる
    return {"price": price, "worker": os.getpid()}


# --8<-- [end:cache]
