"""good.py と同じですが、フェンシングトークンを Redis の INCR で数えます。"""

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


# --8<-- [start:sync]
WRITE = "UPDATE stock SET quantity = ?, token = ? WHERE token < ?"


@app.post("/sync")
def sync_stock() -> dict[str, int]:
    lock = store.lock("stock:lock", timeout=LOCK_SECONDS, blocking_timeout=WAIT_SECONDS)
    if not lock.acquire():
        raise HTTPException(503, "ほかの人が写しています")
    try:
        token = store.incr("stock:token")
        quantity = shop.ask_warehouse()
        written = shop.write(WRITE, quantity, token, token)
    finally:
        with suppress(LockNotOwnedError):
            lock.release()
    if not written:
        raise HTTPException(409, "もっと新しい番号の人が、先に書きました")
    return {"quantity": quantity, "worker": os.getpid()}


# --8<-- [end:sync]
