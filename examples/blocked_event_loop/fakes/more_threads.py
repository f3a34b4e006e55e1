"""スレッドプールを 40 から 200 に広げます。

誘惑: 「スレッドが足りないと FastAPI が詰まる」と聞き、起動時に上限を上げます。
破綻: async def のルートはスレッドプールを使わないので、広げても何も変わりません。
"""

import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

UPSTREAM_SECONDS = 1.0  # 社内のサービスが答えるまでの時間のつもり

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
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = 200
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/report")
async def read_report() -> dict[str, int]:
    sales = fetch_sales()
    return {"sales": sales, "worker": os.getpid()}


# --8<-- [end:fix]
@app.get("/healthz")
async def healthz() -> dict[str, int]:
    return {"running": running, "worker": os.getpid()}


@app.get("/readyz")
def readyz() -> dict[str, int]:
    return {"running": running, "worker": os.getpid()}
