"""倉庫の在庫数を、店の在庫表に写します。2 人が同時に写さないよう、Redis でロックします。

症状: 倉庫は残り 5 個なのに、店の在庫が 50 個に戻り、次に写すまで直りません。
"""

import os
import time

import redis
from fastapi import FastAPI, HTTPException

from examples.distributed_lock import shop

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
LOCK_SECONDS = 1  # 倉庫はふだん 0.1 秒で答えるので、その 10 倍
WAIT_SECONDS = 5

store = redis.Redis.from_url(REDIS_URL)
app = FastAPI()
app.include_router(shop.router)


# --8<-- [start:sync]
def acquire() -> bool:
    for _ in range(WAIT_SECONDS * 10):
        if store.set("stock:lock", "locked", nx=True, ex=LOCK_SECONDS):
            return True
        time.sleep(0.1)
    return False


@app.post("/sync")
def sync_stock() -> dict[str, int]:
    if not acquire():
        raise HTTPException(503, "ほかの人が写しています")
    try:
        quantity = shop.ask_warehouse()
        shop.write("UPDATE stock SET quantity = ?", quantity)
    finally:
        store.delete("stock:lock")
    return {"quantity": quantity, "worker": os.getpid()}


# --8<-- [end:sync]
