"""商品の値段を、外の為替サービスの相場で換算して返します。

症状: 為替サービスが黙り込むと、どのページも 5 秒待たされてから 500 になります。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from fastapi import FastAPI, HTTPException

from examples.fallback.switch import SOCKET, window

PRICE_YEN = 3000


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    transport = httpx2.AsyncHTTPTransport(uds=str(SOCKET))
    async with httpx2.AsyncClient(transport=transport, base_url="http://rates") as client:
        app.state.rates = client
        yield


app = FastAPI(lifespan=lifespan)
app.include_router(window)


# --8<-- [start:fetch]
async def fetch_rate(currency: str) -> float:
    response = await app.state.rates.get(f"/rates/{currency}")
    if response.status_code == 404:
        raise HTTPException(404)  # 扱っていない通貨
    response.raise_for_status()
    return response.json()["yen"]


# --8<-- [end:fetch]
# --8<-- [start:price]
@app.get("/prices/{currency}")
async def read_price(currency: str) -> dict[str, Any]:
    return answer(await fetch_rate(currency), stale=False)


def answer(yen: float, *, stale: bool) -> dict[str, Any]:
    return {"price": round(PRICE_YEN / yen, 2), "stale": stale, "worker": os.getpid()}


# --8<-- [end:price]
