"""接続を使う行を、1 行ずつ threading.Lock で守ります。

誘惑: 1 本の接続を同時に触るのが原因なら、触る瞬間をロックで 1 つずつにすれば済みそうです。
破綻: 守られるのは 1 文ずつで、書き込みと確定の間に別の注文の COMMIT が入ります。
"""

import os
import threading
import time
from typing import LiteralString

import psycopg
from fastapi import FastAPI, HTTPException
from psycopg.rows import TupleRow
from pydantic import BaseModel

CHARGE_SECONDS = 0.2  # カード会社の返事を待つ時間の代わり。この間に別の注文が割り込む

connection = psycopg.connect(os.environ["DATABASE_URL"])  # プロセスに 1 本
connection.execute("SELECT pg_advisory_xact_lock(1)")  # 表を作るワーカーを 1 つずつにする
connection.execute("CREATE TABLE IF NOT EXISTS orders (number integer PRIMARY KEY)")
connection.commit()
app = FastAPI()


class Order(BaseModel):
    """注文。"""

    number: int
    card_is_valid: bool


def charge(order: Order) -> bool:
    time.sleep(CHARGE_SECONDS)
    return order.card_is_valid


# --8<-- [start:fix]
lock = threading.Lock()


def execute(query: LiteralString, *values: int) -> list[TupleRow]:
    with lock:
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []


@app.post("/orders")
def add_order(order: Order) -> dict[str, int]:
    execute("INSERT INTO orders VALUES (%s)", order.number)
    if not charge(order):
        with lock:
            connection.rollback()
        raise HTTPException(409, "カードに請求できません")
    with lock:
        connection.commit()
    return {"number": order.number}


# --8<-- [end:fix]
@app.get("/orders")
def read_orders() -> dict[str, list[int]]:
    rows = execute("SELECT number FROM orders")
    return {"numbers": [row[0] for row in rows]}


@app.get("/orders/{number}")
def read_order(number: int) -> dict[str, int]:
    rows = execute("SELECT number FROM orders WHERE number = %s", number)
    if not rows:
        raise HTTPException(404, "その番号の注文はありません")
    return {"number": rows[0][0]}
