"""ロックの期限を、いちばん遅い仕事よりも長い 3 秒にします。

誘惑: 期限より長い仕事がなければ、ロックが仕事の途中で切れることはありません。
破綻: 止まったワーカーは、期限をどれだけ延ばしても、それより長く止まっていられます。
"""

import os
from contextlib import suppress

import redis
from fastapi import FastAPI, HTTPException
from redis.exceptions import LockNotOwnedError

from examples.distributed_lock import shop

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
WAIT_SECONDS = 2

store = redis.Redis.from_url(REDIS_URL)
app = FastAPI()
app.include_router(shop.router)

# --8<-- [start:fix]
LOCK_SECONDS = 3  # いちばん遅い仕事よりも長く


@app.post("/sync")
def sync_stock() -> dict[str, int]:
    lock = store.lock("stock:lock", timeout=LOCK_SECONDS, blocking_timeout=WAIT_SECONDS)
    if not lock.acquire():
        raise HTTPException(503, "ほかの人が写しています")
    try:
        quantity = shop.ask_warehouse()
        shop.write("UPDATE stock SET quantity = ?", quantity)
    finally:
        with suppress(LockNotOwnedError):
            lock.release()
    return {"quantity": quantity, "worker": os.getpid()}


# --8<-- [end:fix]
