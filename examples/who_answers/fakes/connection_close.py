"""/reload の応答で接続を閉じさせ、次の呼び出しを別のワーカーへ向かわせます。

誘惑: 1 本の接続を使い回すから同じワーカーに届くので、閉じれば 4 回が散らばるはずです。
破綻: 新しい接続は順番に回るわけではないので、同じワーカーに 2 回届き、残るワーカーが出ます。
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from fastapi import FastAPI, Response
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


# --8<-- [start:fix]
def load() -> None:
    with closing(connect()) as db:
        fees.update(db.execute("SELECT area, yen FROM fees"))


@app.get("/fees/{area}")
def read_fee(area: str) -> dict[str, int]:
    return {"yen": fees[area], "worker": os.getpid()}


@app.post("/reload")
def reload(response: Response) -> dict[str, int]:
    load()
    response.headers["connection"] = "close"  # 次の呼び出しは、新しい接続で来る
    return {"worker": os.getpid()}


# --8<-- [end:fix]
@app.put("/fees/{area}")
def change_fee(area: str, fee: Fee) -> dict[str, int]:
    """管理画面です。/reload するまで、答えには出ません。"""
    with closing(connect()) as db, db:
        db.execute("UPDATE fees SET yen = ? WHERE area = ?", [fee.yen, area])
    return {"worker": os.getpid()}


load()
