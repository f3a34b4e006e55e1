"""注文を書き込み、カードに請求できたら確定し、できなければ取り消します。

エンジン（接続プール）はプロセスごとに 1 つ、セッションはリクエストごとに 1 つです。
"""

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

CHARGE_SECONDS = 0.2  # カード会社の返事を待つ時間の代わり。この間に別の注文が割り込む


# --8<-- [start:session]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine = create_engine(os.environ["DATABASE_URL"])  # ワーカーの中で、プロセスに 1 つ
    with engine.begin() as setup:
        setup.execute(text("SELECT pg_advisory_xact_lock(1)"))  # 表を作るのは 1 つずつ
        setup.execute(text("CREATE TABLE IF NOT EXISTS orders (number integer PRIMARY KEY)"))
    app.state.engine = engine
    yield
    engine.dispose()


def get_session(request: Request) -> Iterator[Session]:
    with Session(request.app.state.engine) as session:  # リクエストに 1 つ
        yield session


RequestSession = Annotated[Session, Depends(get_session)]
# --8<-- [end:session]
app = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    """注文。"""

    number: int
    card_is_valid: bool


def charge(order: Order) -> bool:
    time.sleep(CHARGE_SECONDS)
    return order.card_is_valid


# --8<-- [start:order]
@app.post("/orders")
def add_order(order: Order, session: RequestSession) -> dict[str, int]:
    session.execute(text("INSERT INTO orders VALUES (:number)"), {"number": order.number})
    if not charge(order):
        session.rollback()
        raise HTTPException(409, "カードに請求できません")
    session.commit()
    return {"number": order.number}


# --8<-- [end:order]
@app.get("/orders")
def read_orders(session: RequestSession) -> dict[str, list[int]]:
    rows = session.execute(text("SELECT number FROM orders")).all()
    return {"numbers": [row[0] for row in rows]}


@app.get("/orders/{number}")
def read_order(number: int, session: RequestSession) -> dict[str, int]:
    one = text("SELECT number FROM orders WHERE number = :number")
    rows = session.execute(one, {"number": number}).all()
    if not rows:
        raise HTTPException(404, "その番号の注文はありません")
    return {"number": rows[0][0]}
