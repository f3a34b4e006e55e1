"""問い合わせを asyncio.wait_for で囲み、0.2 秒で打ち切ります。

誘惑: 遅い問い合わせをあきらめれば、ほかのリクエストに順番が回るはずです。
破綻: 打ち切りの時計もイベントループの上で動くので、止まっている間は打ち切れません。
"""

import asyncio
import os
import threading
import time

from fastapi import FastAPI, HTTPException

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
    try:
        sales = await asyncio.wait_for(fetch_sales_async(), timeout=0.2)
    except TimeoutError:
        raise HTTPException(503) from None
    return {"sales": sales, "worker": os.getpid()}


# --8<-- [end:fix]
@app.get("/healthz")
async def healthz() -> dict[str, int]:
    return {"running": running, "worker": os.getpid()}


@app.get("/readyz")
def readyz() -> dict[str, int]:
    return {"running": running, "worker": os.getpid()}
