"""bad.py と good.py が使う、店のデータベースと、倉庫への問い合わせです。

実験がワーカーを止める場所（停止点）も、ここにあります。
"""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from fastapi import APIRouter, HTTPException

DATABASE = Path(os.environ.get("DATA_DIR", "."), "shop.db")
POLL_SECONDS = 0.02
# --8<-- [start:schema]
SCHEMA = """
CREATE TABLE IF NOT EXISTS stock (
    id INTEGER PRIMARY KEY,
    quantity INTEGER NOT NULL,
    token INTEGER NOT NULL DEFAULT 0  -- フェンシングトークン。good.py だけが使う
);
"""
# --8<-- [end:schema]
STAGE = """
CREATE TABLE IF NOT EXISTS warehouse (id INTEGER PRIMARY KEY, quantity INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS halts (place TEXT PRIMARY KEY, worker INTEGER);
INSERT OR IGNORE INTO stock (id, quantity) VALUES (1, 0);
INSERT OR IGNORE INTO warehouse (id, quantity) VALUES (1, 0);
"""

router = APIRouter()


def connect() -> sqlite3.Connection:
    return sqlite3.connect(DATABASE, timeout=10)


with closing(connect()) as db:
    db.executescript(SCHEMA + STAGE)


# --8<-- [start:work]
def ask_warehouse() -> int:
    """倉庫の在庫数を尋ねます。答えが遅れても、届くのは尋ねた瞬間の数です。"""
    ((quantity,),) = run("SELECT quantity FROM warehouse")
    if quantity < 0:
        raise HTTPException(502, "倉庫が答えません")
    halt("ask")
    return int(quantity)


def write(statement: str, *values: int) -> int:
    """店の在庫表に書き、書けた行の数を返します。"""
    halt("write")
    with closing(connect()) as db, db:
        return db.execute(statement, values).rowcount


# --8<-- [end:work]
def run(statement: str, *values: object) -> list[tuple[int, ...]]:
    """SQL を 1 つ実行し、確定して、結果の行を返します。"""
    with closing(connect()) as db, db:
        return db.execute(statement, values).fetchall()


# --8<-- [start:halt]
def halt(place: str) -> None:
    """実験が place に停止点を置いていれば、最初に着いた 1 人だけが、外されるまで待ちます。"""
    mine = "UPDATE halts SET worker = ? WHERE place = ? AND worker IS NULL RETURNING 1"
    if run(mine, os.getpid(), place):
        wait(lambda: not run("SELECT 1 FROM halts WHERE place = ?", place))


# --8<-- [end:halt]
def wait(look: Callable[[], object]) -> None:
    while not look():
        time.sleep(POLL_SECONDS)


@router.put("/halts/{place}")
def place_halt(place: str) -> dict[str, int]:
    run("INSERT INTO halts (place) VALUES (?)", place)
    return {"worker": os.getpid()}


@router.get("/halts/{place}")
def read_halt(place: str) -> dict[str, int]:
    """だれかが停止点に着くまで待ち、そのプロセス ID を返します。"""
    arrived = "SELECT worker FROM halts WHERE place = ? AND worker IS NOT NULL"
    wait(lambda: run(arrived, place))
    return {"halted": run(arrived, place)[0][0], "worker": os.getpid()}


@router.delete("/halts/{place}")
def remove_halt(place: str) -> dict[str, int]:
    run("DELETE FROM halts WHERE place = ?", place)
    return {"worker": os.getpid()}


@router.put("/warehouse/{quantity}")
def set_warehouse(quantity: int) -> dict[str, int]:
    run("UPDATE warehouse SET quantity = ?", quantity)
    return {"worker": os.getpid()}


@router.get("/stock")
def read_stock() -> dict[str, int]:
    ((quantity,),) = run("SELECT quantity FROM stock")
    return {"quantity": quantity, "worker": os.getpid()}
