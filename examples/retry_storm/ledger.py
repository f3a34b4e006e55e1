"""銀行の帳簿です。決済と、届いたリクエストを 1 件ずつ書きます。

実験は window のルートから、銀行の調子を変え、帳簿を数えます。
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal

from fastapi import APIRouter

FOLDER = Path(os.environ.get("DATA_DIR", "."))
SOCKET = FOLDER / "bank.sock"
Mode = Literal["fine", "answer_lost", "blip", "down"]
SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (order_id TEXT NOT NULL, key TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS calls (order_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS mode (name TEXT NOT NULL);
"""


def connect() -> sqlite3.Connection:
    db = sqlite3.connect(FOLDER / "bank.db", timeout=30)
    db.execute("PRAGMA synchronous = OFF")  # 実験を速くするためで、本物の帳簿ではしない
    return db


def prepare() -> None:
    with closing(connect()) as db:
        db.executescript(SCHEMA)


def note_call(order_id: str) -> tuple[int, Mode]:
    """この注文の何回目のリクエストかと、いまの調子を返します。"""
    with closing(connect()) as db, db:
        db.execute("INSERT INTO calls VALUES (?)", [order_id])
        (calls,) = db.execute(
            "SELECT count(*) FROM calls WHERE order_id = ?", [order_id]
        ).fetchone()
        mode = db.execute("SELECT name FROM mode").fetchone()
    return calls, mode[0] if mode else "fine"


# --8<-- [start:charge]
def add_charge(order_id: str, key: str | None) -> None:
    """決済と鍵を、1 つの行として書きます。同じ鍵の 2 行目は書けません。"""
    with closing(connect()) as db, db:
        db.execute(
            "INSERT INTO charges VALUES (?, ?) ON CONFLICT (key) DO NOTHING", [order_id, key]
        )


# --8<-- [end:charge]
window = APIRouter()


@window.put("/bank/{mode}")
def set_mode(mode: Mode) -> dict[str, int]:
    with closing(connect()) as db, db:
        db.execute("DELETE FROM mode")
        db.execute("DELETE FROM calls")
        db.execute("INSERT INTO mode VALUES (?)", [mode])
    return {"worker": os.getpid()}


@window.get("/bank")
def count() -> dict[str, int]:
    with closing(connect()) as db:
        (calls,) = db.execute("SELECT count(*) FROM calls").fetchone()
        (charges,) = db.execute("SELECT count(*) FROM charges").fetchone()
    return {"calls": calls, "charges": charges, "worker": os.getpid()}
