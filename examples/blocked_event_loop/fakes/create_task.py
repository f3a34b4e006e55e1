"""問い合わせを asyncio.create_task で別のタスクにします。

誘惑: 別のタスクにして await すれば、待つ間にほかのリクエストが進むはずです。
破綻: タスクは同じイベントループで順に動くので、1 つが譲らなければ全部が止まります。
"""

import asyncio
import os
import threading
import time

from fastapi import FastAPI

UPSTREAM_SECONDS = 1.0  # 社内のサービスが答えるまでの時間のつもり

app = FastAPI()
lock = threading.Lock()
running = 0  # いま進んでいる問い合わせの数


def fetch_sales() -> int:
    """社内のサービスに尋ねる代わりに、答えが来るまでの時間だけ眠ります。"""
    global running
    with lock:
        running += 1
    time.sleep(UPSTREAM_SECONDS)
    with lock:
        running -= 1
    return 1_234_000


# --8<-- [start:fix]
async def fetch_sales_async() -> int:
    return fetch_sales()


@app.get("/report")
async def read_report() -> dict[str, int]:
    task = asyncio.create_task(fetch_sales_async())
    sales = await task
    return {"sales": sales, "worker": os.getpid()}


# --8<-- [end:fix]
@app.get("/healthz")
async def healthz() -> dict[str, int]:
    return {"running": running, "worker": os.getpid()}


@app.get("/readyz")
def readyz() -> dict[str, int]:
    return {"running": running, "worker": os.getpid()}
