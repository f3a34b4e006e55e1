"""読み直しの印を、multiprocessing の共有メモリに置きます。

誘惑: multiprocessing.Value はプロセスの間で共有できる値だと、ドキュメントに書いてあります。
破綻: 共有できるのは作った親とその子だけで、ワーカーはそれぞれ自分の Value を作ります。
"""

import multiprocessing
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel

DATABASE = Path(os.environ.get("DATA_DIR", "."), "fees.db")
SCHEMA = """
CREATE TABLE IF NOT EXISTS fees (area TEXT PRIMARY KEY, yen INTEGER NOT NULL);
INSERT INTO fees VALUES ('tokyo', 100) ON CONFLICT DO NOTHING;
"""


def connect() -> sqlite3.Connection:
    return sqlite3.connect(DATABASE, timeout=10)


with closing(connect()) as db:
    db.executescript(SCHEMA)
app = FastAPI()
fees: dict[str, int] = {}
loaded = -1  # このワーカーが読み込んだ版


class Fee(BaseModel):
    """新しい送料です。"""

    yen: int


# --8<-- [start:fix]
edition = multiprocessing.Value("i", 0)


def load() -> None:
    global loaded
    number = edition.value
    with closing(connect()) as db:
        fees.update(db.execute("SELECT area, yen FROM fees"))
    loaded = number


@app.get("/fees/{area}")
def read_fee(area: str) -> dict[str, int]:
    if edition.value != loaded:
        load()
    return {"yen": fees[area], "worker": os.getpid()}


@app.post("/reload")
def reload() -> dict[str, int]:
    with edition.get_lock():
        edition.value += 1
    return {"worker": os.getpid()}


# --8<-- [end:fix]
@app.put("/fees/{area}")
def change_fee(area: str, fee: Fee) -> dict[str, int]:
    """管理画面です。/reload するまで、答えには出ません。"""
    with closing(connect()) as db, db:
        db.execute("UPDATE fees SET yen = ? WHERE area = ?", [fee.yen, area])
    return {"worker": os.getpid()}


load()
