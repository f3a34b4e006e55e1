"""銀行を呼ぶ関数と、それを呼ぶ処理の、2 か所で 3 回ずつ試します。

誘惑: どちらの層も、自分の呼び出しを守る控えめな設定です。
破綻: 内側の 3 回がまるごと外側で 3 回くり返され、1 件の注文が 9 回のリクエストになります。
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


# --8<-- [start:fix]
three_times = retry(stop=stop_after_attempt(3), wait=wait_fixed(0.02), reraise=True)


@three_times
async def call_bank(key: str, order_id: str) -> None:
    headers = {"Idempotency-Key": key}
    response = await app.state.bank.post(f"/charges/{order_id}", headers=headers)
    response.raise_for_status()


@three_times
async def charge(key: str, order_id: str) -> None:
    await call_bank(key, order_id)


@app.post("/orders/{order_id}")
async def create_order(
    order_id: str, idempotency_key: Annotated[str, Header()]
) -> dict[str, int]:
    try:
        await charge(idempotency_key, order_id)
    except httpx2.HTTPError as error:
        raise HTTPException(503, headers={"Retry-After": "1"}) from error
    return {"worker": os.getpid()}


# --8<-- [end:fix]
