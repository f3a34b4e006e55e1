"""待つ時間に 1 秒の上限を付け、過ぎたら前の相場で答えます。

誘惑: だれも 500 を見ず、5 秒待つこともなくなります。
破綻: 止まった相手に毎回頼みに行くので、全員が 1 秒ずつ待ち、リクエストは 1 件も減りません。
"""

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
from fastapi import FastAPI, HTTPException

from examples.fallback.switch import SOCKET, window

PRICE_YEN = 3000
BUDGET = 1  # 秒。相場を待つ上限
MAX_AGE = 600  # 秒。これより古い相場では売らない
OUTAGE = (httpx2.HTTPError, TimeoutError)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    transport = httpx2.AsyncHTTPTransport(uds=str(SOCKET))
    async with httpx2.AsyncClient(transport=transport, base_url="http://rates") as client:
        app.state.rates = client
        with suppress(*OUTAGE):
            await fetch_rate("USD")
        yield


app = FastAPI(lifespan=lifespan)
app.include_router(window)
latest: dict[str, tuple[float, float]] = {}


async def fetch_rate(currency: str) -> float:
    response = await app.state.rates.get(f"/rates/{currency}")
    if response.status_code == 404:
        raise HTTPException(404)
    response.raise_for_status()
    yen = response.json()["yen"]
    latest[currency] = (yen, time.monotonic())
    return yen


# --8<-- [start:fix]
@app.get("/prices/{currency}")
async def read_price(currency: str) -> dict[str, Any]:
    try:
        async with asyncio.timeout(BUDGET):
            return answer(await fetch_rate(currency), stale=False)
    except OUTAGE:
        return answer(last_known(currency), stale=True)


# --8<-- [end:fix]
def last_known(currency: str) -> float:
    yen, at = latest.get(currency, (0, -math.inf))
    if time.monotonic() - at > MAX_AGE:
        raise HTTPException(503, headers={"Retry-After": "5"})
    return yen


def answer(yen: float, *, stale: bool) -> dict[str, Any]:
    return {"price": round(PRICE_YEN / yen, 2), "stale": stale, "worker": os.getpid()}
