"""接続を lifespan で開き、app.state に置きます。

誘惑: グローバル変数をやめてワーカーごとに開けば、ワーカーの間で接続は共有されません。
破綻: bad.py の接続も初めからワーカーごとに 1 本で、奪い合うのはワーカーの中のスレッドです。
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

CHARGE_SECONDS = 0.2  # カード会社の返事を待つ時間の代わり。この間に別の注文が割り込む


# --8<-- [start:fix]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(1)")
        connection.execute("CREATE TABLE IF NOT EXISTS orders (number integer PRIMARY KEY)")
        connection.commit()
        app.state.connection = connection
        yield


# --8<-- [end:fix]
app = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    """注文。"""

    number: int
    card_is_valid: bool


def charge(order: Order) -> bool:
    time.sleep(CHARGE_SECONDS)
    return order.card_is_valid


@app.post("/orders")
def add_order(order: Order, request: Request) -> dict[str, int]:
    connection = request.app.state.connection
    connection.execute("INSERT INTO orders VALUES (%s)", [order.number])
    if not charge(order):
        connection.rollback()
        raise HTTPException(409, "カードに請求できません")
    connection.commit()
    return {"number": order.number}


@app.get("/orders")
def read_orders(request: Request) -> dict[str, list[int]]:
    connection = request.app.state.connection
    rows = connection.execute("SELECT number FROM orders").fetchall()
    return {"numbers": [row[0] for row in rows]}


@app.get("/orders/{number}")
def read_order(number: int, request: Request) -> dict[str, int]:
    connection = request.app.state.connection
    rows = connection.execute(
        "SELECT number FROM orders WHERE number = %s", [number]
    ).fetchall()
    if not rows:
        raise HTTPException(404, "その番号の注文はありません")
    return {"number": rows[0][0]}
