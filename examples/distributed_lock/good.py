"""倉庫の在庫数を、店の在庫表に写します。追い越された人の書き込みは、在庫表が断ります。"""

import os
from contextlib import suppress

import redis
from fastapi import FastAPI, HTTPException
from redis.exceptions import LockNotOwnedError

from examples.distributed_lock import shop

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
LOCK_SECONDS = 1  # 倉庫はふだん 0.1 秒で答えるので、その 10 倍
WAIT_SECONDS = 5

store = redis.Redis.from_url(REDIS_URL)
app = FastAPI()
app.include_router(shop.router)


# --8<-- [start:sync]
def next_token() -> int:
    ((token,),) = shop.run("UPDATE stock SET token = token + 1 RETURNING token")
    return token


@app.post("/sync")
def sync_stock() -> dict[str, int]:
    lock = store.lock("stock:lock", timeout=LOCK_SECONDS, blocking_timeout=WAIT_SECONDS)
    if not lock.acquire():
        raise HTTPException(503, "ほかの人が写しています")
    try:
        token = next_token()  # 倉庫に尋ねる前に取る
        quantity = shop.ask_warehouse()
        written = shop.write("UPDATE stock SET quantity = ? WHERE token = ?", quantity, token)
    finally:
        with suppress(LockNotOwnedError):  # 期限が切れ、ほかの人に渡っていた
            lock.release()
    if not written:
        raise HTTPException(409, "写している間に、ほかの人が写し始めました")
    return {"quantity": quantity, "worker": os.getpid()}


# --8<-- [end:sync]
