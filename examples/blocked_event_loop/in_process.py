"""金額を尋ねる代わりに自分で計算します。計算は、別のプロセスに任せます。"""

import asyncio
import multiprocessing
import os
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI

running = 0  # いま進んでいる計算の数


# --8<-- [start:report]
def compute_sales() -> int:
    return sum(range(10_000_000))  # 重い計算のつもり。sum が終わるまで GIL を離さない


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    spawn = multiprocessing.get_context("spawn")  # スレッドのあるプロセスで fork しない
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/report")
async def read_report() -> dict[str, int]:
    global running
    running += 1
    loop = asyncio.get_running_loop()
    try:
        sales = await loop.run_in_executor(app.state.pool, compute_sales)
    finally:
        running -= 1
    return {"sales": sales, "worker": os.getpid()}


# --8<-- [end:report]
@app.get("/healthz")
async def healthz() -> dict[str, int]:
    return {"running": running, "worker": os.getpid()}


@app.get("/readyz")
def readyz() -> dict[str, int]:
    return {"running": running, "worker": os.getpid()}
