"""スレッドをやめ、非同期の接続 1 本を async def のルートで使います。

誘惑: async def のルートは 1 つのスレッドで動くので、取り合いは起きないように思えます。
破綻: await のたびに別のリクエストへ切り替わり、同じ接続の上でトランザクションが混ざります。
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

CHARGE_SECONDS = 0.2  # カード会社の返事を待つ時間の代わり。この間に別の注文が割り込む

connection: psycopg.AsyncConnection  # プロセスに 1 本


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    global connection
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(1)")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS orders (number integer PRIMARY KEY)"
        )
        await connection.commit()
        yield


app = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    """注文。"""

    number: int
    card_is_valid: bool


async def charge(order: Order) -> bool:
    await asyncio.sleep(CHARGE_SECONDS)
    return order.card_is_valid


# --8<-- [start:fix]
@app.post("/orders")
async def add_order(order: Order) -> dict[str, int]:
    await connection.execute("INSERT INTO orders VALUES (%s)", [order.number])
    if not await charge(order):
        await connection.rollback()
        raise HTTPException(409, "カードに請求できません")
    await connection.commit()
    return {"number": order.number}


# --8<-- [end:fix]
@app.get("/orders")
async def read_orders() -> dict[str, list[int]]:
    cursor = await connection.execute("SELECT number FROM orders")
    rows = await cursor.fetchall()
    return {"numbers": [row[0] for row in rows]}


@app.get("/orders/{number}")
async def read_order(number: int) -> dict[str, int]:
    cursor = await connection.execute("SELECT number FROM orders WHERE number = %s", [number])
    rows = await cursor.fetchall()
    if not rows:
        raise HTTPException(404, "その番号の注文はありません")
    return {"number": rows[0][0]}
