"""待ち時間を倍々に延ばし、ジッターで散らします。

誘惑: やり直しの作法として必ず挙がり、リクエストがいっせいに重なることもなくなります。
破綻: 送る時刻がずれるだけで、銀行に届くリクエストの合計は 3 倍のままです。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx2
from fastapi import FastAPI, Header, HTTPException
from tenacity import retry, stop_after_attempt, wait_random_exponential

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
@retry(
    stop=stop_after_attempt(3),
    wait=wait_random_exponential(multiplier=0.05, max=1),
    reraise=True,
)
async def charge(key: str, order_id: str) -> None:
    headers = {"Idempotency-Key": key}
    response = await app.state.bank.post(f"/charges/{order_id}", headers=headers)
    response.raise_for_status()


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
