"""サーキットブレーカーに、失敗をすべて数えさせます。

誘惑: tracker を書かなければ、どんな例外でも数えてくれるので、漏れがありません。
破綻: 扱っていない通貨を 3 回尋ねられただけで開き、元気な相手に頼まなくなります。
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
from fluxgate import AsyncCircuitBreaker
from fluxgate.errors import CallNotPermittedError
from fluxgate.permits import All
from fluxgate.retries import Cooldown
from fluxgate.trippers import Closed, FailureStreak, HalfOpened

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
breaker = AsyncCircuitBreaker(
    tripper=Closed() & FailureStreak(3) | HalfOpened() & FailureStreak(1),
    retry=Cooldown(5),
    permit=All(),
    max_half_open_calls=1,
)


@breaker
async def fetch_in_time(currency: str) -> float:
    async with asyncio.timeout(BUDGET):
        return await fetch_rate(currency)


@app.get("/prices/{currency}")
async def read_price(currency: str) -> dict[str, Any]:
    try:
        return answer(await fetch_in_time(currency), stale=False)
    except (*OUTAGE, CallNotPermittedError):
        return answer(last_known(currency), stale=True)


# --8<-- [end:fix]
def last_known(currency: str) -> float:
    yen, at = latest.get(currency, (0, -math.inf))
    if time.monotonic() - at > MAX_AGE:
        raise HTTPException(503, headers={"Retry-After": "5"})
    return yen


def answer(yen: float, *, stale: bool) -> dict[str, Any]:
    return {"price": round(PRICE_YEN / yen, 2), "stale": stale, "worker": os.getpid()}
