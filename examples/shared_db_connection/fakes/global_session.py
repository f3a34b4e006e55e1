"""SQLAlchemy のセッションを 1 つ作り、アプリ全体で使い回します。

誘惑: SQLAlchemy なら接続プールがあるので、後は任せればよいと思えます。
破綻: セッションは 1 つのトランザクションを表し、2 つのスレッドで同時には使えません。
"""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

CHARGE_SECONDS = 0.2  # カード会社の返事を待つ時間の代わり。この間に別の注文が割り込む


# --8<-- [start:fix]
engine = create_engine(os.environ["DATABASE_URL"])
session = Session(engine)  # アプリに 1 つ


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with engine.begin() as setup:
        setup.execute(text("SELECT pg_advisory_xact_lock(1)"))
        setup.execute(text("CREATE TABLE IF NOT EXISTS orders (number integer PRIMARY KEY)"))
    yield
    engine.dispose()


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
def add_order(order: Order) -> dict[str, int]:
    session.execute(text("INSERT INTO orders VALUES (:number)"), {"number": order.number})
    if not charge(order):
        session.rollback()
        raise HTTPException(409, "カードに請求できません")
    session.commit()
    return {"number": order.number}


@app.get("/orders")
def read_orders() -> dict[str, list[int]]:
    rows = session.execute(text("SELECT number FROM orders")).all()
    return {"numbers": [row[0] for row in rows]}


@app.get("/orders/{number}")
def read_order(number: int) -> dict[str, int]:
    one = text("SELECT number FROM orders WHERE number = :number")
    rows = session.execute(one, {"number": number}).all()
    if not rows:
        raise HTTPException(404, "その番号の注文はありません")
    return {"number": rows[0][0]}
