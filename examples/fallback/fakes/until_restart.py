"""続けて 3 回失敗したら、相手が落ちたと見て、頼むのをやめます。

誘惑: 自分で書けるほど短く、止まった相手にはもう 1 件も送りません。
破綻: 戻ったかを試す人がいないので、ワーカーを起動し直すまで、古い相場で売り続けます。
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
failures = 0  # 続けて失敗した回数


class GivenUpError(Exception):
    """もう頼みません。"""


async def fetch_in_time(currency: str) -> float:
    global failures
    if failures >= 3:
        raise GivenUpError
    try:
        async with asyncio.timeout(BUDGET):
            yen = await fetch_rate(currency)
    except OUTAGE:
        failures += 1
        raise
    failures = 0
    return yen


@app.get("/prices/{currency}")
async def read_price(currency: str) -> dict[str, Any]:
    try:
        return answer(await fetch_in_time(currency), stale=False)
    except (*OUTAGE, GivenUpError):
        return answer(last_known(currency), stale=True)


# --8<-- [end:fix]
def last_known(currency: str) -> float:
    yen, at = latest.get(currency, (0, -math.inf))
    if time.monotonic() - at > MAX_AGE:
        raise HTTPException(503, headers={"Retry-After": "5"})
    return yen


def answer(yen: float, *, stale: bool) -> dict[str, Any]:
    return {"price": round(PRICE_YEN / yen, 2), "stale": stale, "worker": os.getpid()}
