"""ルートを def にし、問い合わせは依存に分けます。

誘惑: ルートは def なのでスレッドで動き、依存も一緒に移ったように見えます。
破綻: async def の依存は、ルートが def でもイベントループの上で実行されます。
"""

import os
import threading
import time
from typing import Annotated

from fastapi import Depends, FastAPI

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
async def current_sales() -> int:
    return fetch_sales()


@app.get("/report")
def read_report(sales: Annotated[int, Depends(current_sales)]) -> dict[str, int]:
    return {"sales": sales, "worker": os.getpid()}


# --8<-- [end:fix]
@app.get("/healthz")
async def healthz() -> dict[str, int]:
    return {"running": running, "worker": os.getpid()}


@app.get("/readyz")
def readyz() -> dict[str, int]:
    return {"running": running, "worker": os.getpid()}
