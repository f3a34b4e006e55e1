"""仕事が続いている間、別のスレッドがロックの期限を延ばし続けます。

誘惑: 仕事がどれだけ長引いても切れず、持ち主が死ねば、延長も止まって期限で外れます。
破綻: ワーカーが止まると延長するスレッドも一緒に止まり、ロックは切れて次の人に渡ります。
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis
from fastapi import FastAPI, HTTPException
from redis.exceptions import LockNotOwnedError
from redis.lock import Lock

from examples.distributed_lock import shop

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
LOCK_SECONDS = 1
WAIT_SECONDS = 2

store = redis.Redis.from_url(REDIS_URL)
app = FastAPI()
app.include_router(shop.router)


# --8<-- [start:fix]
@contextmanager
def renewing(lock: Lock) -> Iterator[None]:
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LOCK_SECONDS / 5):
            with suppress(LockNotOwnedError):
                lock.reacquire()  # 期限を、いまから 1 秒後に延ばす

    watchdog = threading.Thread(target=renew, daemon=True)
    watchdog.start()
    try:
        yield
    finally:
        done.set()
        watchdog.join()


@app.post("/sync")
def sync_stock() -> dict[str, int]:
    lock = store.lock(
        "stock:lock",
        timeout=LOCK_SECONDS,
        blocking_timeout=WAIT_SECONDS,
        thread_local=False,  # 延長するスレッドからも、持ち主として扱う
    )
    if not lock.acquire():
        raise HTTPException(503, "ほかの人が写しています")
    try:
        with renewing(lock):
            quantity = shop.ask_warehouse()
            shop.write("UPDATE stock SET quantity = ?", quantity)
    finally:
        with suppress(LockNotOwnedError):
            lock.release()
    return {"quantity": quantity, "worker": os.getpid()}


# --8<-- [end:fix]
