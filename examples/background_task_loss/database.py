"""good.py と tasks.py が使うデータベースです。"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

DATABASE = Path(os.environ.get("DATA_DIR", "."), "shop.db")
# --8<-- [start:schema]
SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, lines INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    order_id INTEGER PRIMARY KEY,
    done INTEGER NOT NULL DEFAULT 0,
    send_at REAL NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS receipts (
    number INTEGER PRIMARY KEY,
    order_id INTEGER NOT NULL UNIQUE  -- 1 つの注文に、領収書は 1 枚
);
CREATE TABLE IF NOT EXISTS runs (order_id INTEGER NOT NULL);
"""
# --8<-- [end:schema]


def connect() -> sqlite3.Connection:
    return sqlite3.connect(DATABASE, timeout=10)


with closing(connect()) as db:
    db.executescript(SCHEMA)
