"""注文を受け付け、銀行に決済を頼みます。失敗したら 3 回まで試します。

症状: 銀行が止まると、こちらが送るリクエストが 3 倍になります。二重に決済された人もいます。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx2
from fastapi import FastAPI, Header, HTTPException
from tenacity import retry, stop_after_attempt, wait_fixed

from examples.retry_storm.ledger import SOCKET, window


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    transport = httpx2.AsyncHTTPTransport(uds=str(SOCKET))
    async with httpx2.AsyncClient(transport=transport, base_url="http://bank") as client:
        app.state.bank = client
        yield


app = FastAPI(lifespan=lifespan)
app.include_router(window)


# --8<-- [start:charge]
@retry(stop=stop_after_attempt(3), wait=wait_fixed(0.05), reraise=True)
async def charge(key: str, order_id: str) -> None:
    response = await app.state.bank.post(f"/charges/{order_id}")
    response.raise_for_status()


@app.post("/orders/{order_id}")
async def create_order(
    order_id: str, idempotency_key: Annotated[str, Header()]
) -> dict[str, int]:
    try:
        await charge(idempotency_key, order_id)
    except httpx2.HTTPError as error:
        raise HTTPException(503) from error
    return {"worker": os.getpid()}


# --8<-- [end:charge]
