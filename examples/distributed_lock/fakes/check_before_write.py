"""書く直前に、ロックをまだ持っているかを Redis に確かめます。

誘惑: 答えが遅れてロックを失っていれば、古い在庫数を書かずに断れます。
破綻: 確かめてから書くまでの間にも止まることがあり、そのあとでは確かめ直しません。
"""

import os
from contextlib import suppress

import redis
from fastapi import FastAPI, HTTPException
from redis.exceptions import LockNotOwnedError

from examples.distributed_lock import shop

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
LOCK_SECONDS = 1
WAIT_SECONDS = 5

store = redis.Redis.from_url(REDIS_URL)
app = FastAPI()
app.include_router(shop.router)


# --8<-- [start:fix]
@app.post("/sync")
def sync_stock() -> dict[str, int]:
    lock = store.lock("stock:lock", timeout=LOCK_SECONDS, blocking_timeout=WAIT_SECONDS)
    if not lock.acquire():
        raise HTTPException(503, "ほかの人が写しています")
    try:
        quantity = shop.ask_warehouse()
        if not lock.owned():  # 期限が切れ、ほかの人に渡っていた
            raise HTTPException(409, "ロックを失いました")
        shop.write("UPDATE stock SET quantity = ?", quantity)
    finally:
        with suppress(LockNotOwnedError):
            lock.release()
    return {"quantity": quantity, "worker": os.getpid()}


# --8<-- [end:fix]
