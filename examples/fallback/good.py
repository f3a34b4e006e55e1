"""商品の値段を、外の為替サービスの相場で換算して返します。相場が取れなければ、前の相場で答えます。"""

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
from fluxgate.trackers import TypeOf
from fluxgate.trippers import Closed, FailureStreak, HalfOpened

from examples.fallback.switch import SOCKET, window

PRICE_YEN = 3000
BUDGET = 1  # 秒。相場を待つ上限
MAX_AGE = float(os.environ.get("MAX_STALE_SECONDS", "600"))  # 秒。これより古い相場では売らない
OUTAGE = (httpx2.HTTPError, TimeoutError)  # 相手の調子が悪いときの失敗


# --8<-- [start:lifespan]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    transport = httpx2.AsyncHTTPTransport(uds=str(SOCKET))
    async with httpx2.AsyncClient(transport=transport, base_url="http://rates") as client:
        app.state.rates = client
        with suppress(*OUTAGE):  # 相手が止まっていても、起動はする
            await fetch_rate("USD")
        yield


# --8<-- [end:lifespan]
app = FastAPI(lifespan=lifespan)
app.include_router(window)


# --8<-- [start:fetch]
latest: dict[str, tuple[float, float]] = {}  # 通貨 → 相場と、取れた時刻。ワーカーごとに 1 つ


async def fetch_rate(currency: str) -> float:
    response = await app.state.rates.get(f"/rates/{currency}")
    if response.status_code == 404:
        raise HTTPException(404)  # 扱っていない通貨。相手は元気なので、失敗に数えない
    response.raise_for_status()
    yen = response.json()["yen"]
    latest[currency] = (yen, time.monotonic())
    return yen


# --8<-- [end:fetch]
# --8<-- [start:breaker]
breaker = AsyncCircuitBreaker(  # これもワーカーごとに 1 つ
    tracker=TypeOf(*OUTAGE),
    tripper=Closed() & FailureStreak(3) | HalfOpened() & FailureStreak(1),
    retry=Cooldown(5),  # 秒。開いてから、1 件だけ試すまで
    permit=All(),
    max_half_open_calls=1,
)


@breaker
async def fetch_in_time(currency: str) -> float:
    async with asyncio.timeout(BUDGET):
        return await fetch_rate(currency)


# --8<-- [end:breaker]
# --8<-- [start:price]
@app.get("/prices/{currency}")
async def read_price(currency: str) -> dict[str, Any]:
    try:
        return answer(await fetch_in_time(currency), stale=False)
    except (*OUTAGE, CallNotPermittedError):
        return answer(last_known(currency), stale=True)


def last_known(currency: str) -> float:
    yen, at = latest.get(currency, (0, -math.inf))
    if time.monotonic() - at > MAX_AGE:
        raise HTTPException(503, headers={"Retry-After": "5"})
    return yen


def answer(yen: float, *, stale: bool) -> dict[str, Any]:
    return {"price": round(PRICE_YEN / yen, 2), "stale": stale, "worker": os.getpid()}


# --8<-- [end:price]
