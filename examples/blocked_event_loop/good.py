"""売上の報告書を返します。待つ仕事を def のルートに置き、スレッドに任せます。"""

import os
import threading
import time

from fastapi import FastAPI

UPSTREAM_SECONDS = float(os.environ.get("UPSTREAM_SECONDS", "1"))  # 社内の答えを待つ

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


# --8<-- [start:report]
@app.get("/report")
def read_report() -> dict[str, int]:
    sales = fetch_sales()
    return {"sales": sales, "worker": os.getpid()}


# --8<-- [end:report]
# --8<-- [start:probes]
@app.get("/healthz")
async def healthz() -> dict[str, int]:
    return {"running": running, "worker": os.getpid()}


@app.get("/readyz")
def readyz() -> dict[str, int]:
    return {"running": running, "worker": os.getpid()}


# --8<-- [end:probes]
