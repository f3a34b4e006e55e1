"""送料を答えます。料金表はメモリに読み込み、変えたら POST /reload で読み直します。

症状: 反映のスクリプトは 4 回とも成功したのに、古い送料を答えるワーカーが残ります。
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
"""


def connect() -> sqlite3.Connection:
    return sqlite3.connect(DATABASE, timeout=10)


with closing(connect()) as db:
    db.executescript(SCHEMA)
app = FastAPI()
fees: dict[str, int] = {}


class Fee(BaseModel):
    """新しい送料です。"""

    yen: int


# --8<-- [start:reload]
def load() -> None:
    with closing(connect()) as db:
        fees.update(db.execute("SELECT area, yen FROM fees"))


@app.get("/fees/{area}")
def read_fee(area: str) -> dict[str, int]:
    return {"yen": fees[area], "worker": os.getpid()}


@app.post("/reload")
def reload() -> dict[str, int]:
    load()
    return {"worker": os.getpid()}


# --8<-- [end:reload]
@app.put("/fees/{area}")
def change_fee(area: str, fee: Fee) -> dict[str, int]:
    """管理画面です。/reload するまで、答えには出ません。"""
    with closing(connect()) as db, db:
        db.execute("UPDATE fees SET yen = ? WHERE area = ?", [fee.yen, area])
    return {"worker": os.getpid()}


load()
