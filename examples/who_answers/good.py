"""送料を答えます。料金表はメモリに読み込み、変えたら POST /reload で読み直しを頼みます。

知らせは、全員に見える場所（データベース）に残し、各ワーカーが、答える前に読み直します。
"""

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
CREATE TABLE IF NOT EXISTS edition (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER);
INSERT INTO edition VALUES (1, 0) ON CONFLICT DO NOTHING;
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


# --8<-- [start:reload]
def load() -> None:
    global loaded
    with closing(connect()) as db:
        number = edition(db)  # 版を先に読む。このあと増えたら、次の人がもう一度読む
        fees.update(db.execute("SELECT area, yen FROM fees"))
    loaded = number


def edition(db: sqlite3.Connection) -> int:
    return db.execute("SELECT number FROM edition").fetchone()[0]


@app.get("/fees/{area}")
def read_fee(area: str) -> dict[str, int]:
    with closing(connect()) as db:
        published = edition(db)
    if published != loaded:
        load()
    return {"yen": fees[area], "worker": os.getpid()}


@app.post("/reload")
def reload() -> dict[str, int]:
    with closing(connect()) as db, db:
        db.execute("UPDATE edition SET number = number + 1")
    return {"worker": os.getpid()}


# --8<-- [end:reload]
@app.put("/fees/{area}")
def change_fee(area: str, fee: Fee) -> dict[str, int]:
    """管理画面です。/reload するまで、答えには出ません。"""
    with closing(connect()) as db, db:
        db.execute("UPDATE fees SET yen = ? WHERE area = ?", [fee.yen, area])
    return {"worker": os.getpid()}


load()
