"""注文を書き込み、カードに請求できたら確定し、できなければ取り消します。

症状: 「受け付けました」と答えた注文が記録になく、断ったはずの注文が残ります。
"""

import os
import time

import psycopg
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

CHARGE_SECONDS = 0.2  # カード会社の返事を待つ時間の代わり。この間に別の注文が割り込む

# --8<-- [start:connection]
connection = psycopg.connect(os.environ["DATABASE_URL"])  # プロセスに 1 本
connection.execute("SELECT pg_advisory_xact_lock(1)")  # 表を作るワーカーを 1 つずつにする
connection.execute("CREATE TABLE IF NOT EXISTS orders (number integer PRIMARY KEY)")
connection.commit()
# --8<-- [end:connection]
app = FastAPI()


class Order(BaseModel):
    """注文。"""

    number: int
    card_is_valid: bool


def charge(order: Order) -> bool:
    time.sleep(CHARGE_SECONDS)
    return order.card_is_valid


# --8<-- [start:order]
@app.post("/orders")
def add_order(order: Order) -> dict[str, int]:
    connection.execute("INSERT INTO orders VALUES (%s)", [order.number])
    if not charge(order):
        connection.rollback()
        raise HTTPException(409, "カードに請求できません")
    connection.commit()
    return {"number": order.number}


# --8<-- [end:order]
@app.get("/orders")
def read_orders() -> dict[str, list[int]]:
    rows = connection.execute("SELECT number FROM orders").fetchall()
    return {"numbers": [row[0] for row in rows]}


@app.get("/orders/{number}")
def read_order(number: int) -> dict[str, int]:
    rows = connection.execute(
        "SELECT number FROM orders WHERE number = %s", [number]
    ).fetchall()
    if not rows:
        raise HTTPException(404, "その番号の注文はありません")
    return {"number": rows[0][0]}
