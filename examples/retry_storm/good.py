"""注文を受け付け、銀行に決済を頼みます。やり直しには予算があり、鍵を付けて送ります。

鍵（Idempotency-Key）は、注文の画面が 1 件に 1 つ作り、再送でも変えません。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx2
from fastapi import FastAPI, Header, HTTPException
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from examples.retry_storm.budget import RetryBudget
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
budget = RetryBudget()  # ワーカーごとに 1 つ


def may_pass(error: BaseException) -> bool:
    """待てば直る見込みのある失敗です。断られた（4xx）なら、何度頼んでも同じです。"""
    if isinstance(error, httpx2.HTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx2.TransportError)


@retry(
    retry=retry_if_exception(may_pass),
    stop=stop_after_attempt(3) | budget.is_spent,
    wait=wait_random_exponential(multiplier=0.05, max=1),
    reraise=True,
)
async def charge(key: str, order_id: str) -> None:
    headers = {"Idempotency-Key": key}  # 何回目でも同じ鍵
    response = await app.state.bank.post(f"/charges/{order_id}", headers=headers)
    response.raise_for_status()


@app.post("/orders/{order_id}")
async def create_order(
    order_id: str, idempotency_key: Annotated[str, Header()]
) -> dict[str, int]:
    budget.earn()
    try:
        await charge(idempotency_key, order_id)
    except httpx2.HTTPError as error:
        raise HTTPException(503, headers={"Retry-After": "1"}) from error
    return {"worker": os.getpid()}


# --8<-- [end:charge]
