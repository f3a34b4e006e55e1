"""注文を受け付けます。前に nginx が立ち、サーバーの設定は既定のままです。

症状: ふだんは動き、ときどき nginx が 502 を返します。アプリのログには、何も残りません。
"""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel

DATABASE = Path(os.environ.get("DATA_DIR", "."), "orders.db")
SCHEMA = "CREATE TABLE IF NOT EXISTS orders (number INTEGER NOT NULL, worker INTEGER NOT NULL)"

# --8<-- [start:options]
# サーバーを起動するコマンドに足す引数です。どちらも、書かないときと同じ秒数です
UVICORN_OPTIONS = ["--timeout-keep-alive=5"]
GUNICORN_OPTIONS = ["--keep-alive=2"]
# --8<-- [end:options]
# --8<-- [start:nginx]
# nginx.conf の http { } の中です。実験は、2 つのポートを空いている番号に替えて起動します
NGINX = """
    upstream workers {
        server 127.0.0.1:8000;
        keepalive 16;           # ワーカーとの接続を、16 本まで取っておく
        keepalive_timeout 60s;  # 60 秒使わなかったら閉じる
    }
    server {
        listen 127.0.0.1:8080;
        location / {
            proxy_pass http://workers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";  # ワーカーとの接続を使い回す
        }
    }
"""
# --8<-- [end:nginx]


def connect() -> sqlite3.Connection:
    return sqlite3.connect(DATABASE, timeout=30)


with closing(connect()) as db:
    db.executescript(SCHEMA)
app = FastAPI()


class Order(BaseModel):
    """1 件の注文です。"""

    number: int
    mail_seconds: float = 0.3  # 確認メールを送る時間のつもり


# --8<-- [start:order]
@app.post("/orders", status_code=201)
async def add_order(order: Order) -> dict[str, int]:
    await asyncio.to_thread(save, order.number)
    await asyncio.sleep(order.mail_seconds)
    return {"worker": os.getpid()}


# --8<-- [end:order]
def save(number: int) -> None:
    with closing(connect()) as db, db:
        db.execute("INSERT INTO orders VALUES (?, ?)", [number, os.getpid()])


@app.get("/orders")
def count_orders() -> dict[str, int]:
    """実験が数えるための窓口です。"""
    with closing(connect()) as db:
        rows, orders = db.execute(
            "SELECT count(*), count(DISTINCT number) FROM orders"
        ).fetchone()
    return {"orders": orders, "doubled": rows - orders, "worker": os.getpid()}


@app.get("/orders/{number}")
def find_order(number: int) -> dict[str, int]:
    """この注文を保存したワーカーを、実験が知るための窓口です。まだなら 0 です。"""
    with closing(connect()) as db:
        rows = db.execute("SELECT worker FROM orders WHERE number = ?", [number]).fetchall()
    return {"saved_by": rows[-1][0] if rows else 0, "worker": os.getpid()}
