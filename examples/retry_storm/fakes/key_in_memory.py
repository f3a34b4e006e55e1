"""やり直しをやめ、受け付けた鍵をワーカーのメモリに覚えて、2 回目を断ります。

誘惑: リクエストは増えず、同じボタンを 2 回押しても、覚えていれば 2 回目は決済しません。
破綻: 2 回目は別のワーカーに届くことがあり、答えが失われた決済はだれも覚えていません。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx2
from fastapi import FastAPI, Header, HTTPException

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
charged: set[str] = set()


async def charge(key: str, order_id: str) -> None:
    if key in charged:
        return
    response = await app.state.bank.post(f"/charges/{order_id}")
    response.raise_for_status()
    charged.add(key)


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
