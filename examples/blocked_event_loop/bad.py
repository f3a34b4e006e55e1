"""売上の報告書を返します。金額は、同期のクライアントで社内のサービスに尋ねます。

症状: 報告書を待つ人がいる間、関係のない /healthz まで答えなくなります。
"""

import os
import threading
import time

from fastapi import FastAPI

UPSTREAM_SECONDS = float(os.environ.get("UPSTREAM_SECONDS", "1"))  # 社内の答えを待つ

app = FastAPI()
lock = threading.Lock()
running = 0  # いま進んでいる問い合わせの数


# --8<-- [start:wait]
def fetch_sales() -> int:
    """社内のサービスに尋ねる代わりに、答えが来るまでの時間だけ眠ります。"""
    global running
    with lock:
        running += 1
    time.sleep(UPSTREAM_SECONDS)
    with lock:
        running -= 1
    return 1_234_000


# --8<-- [end:wait]


# --8<-- [start:report]
@app.get("/report")
async def read_report() -> dict[str, int]:
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
