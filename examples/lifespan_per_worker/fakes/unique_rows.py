"""料金の名前を UNIQUE にして、同じ行を 2 度入れません。

誘惑: 同じ行が増えなくなり、エラーも出ないので、何度起動しても安全に見えます。
破綻: 守られるのは行の数だけで、何度行っても同じ結果にはならない値上げが、4 回行われます。
"""

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from fastapi import FastAPI

from examples.lifespan_per_worker.migrations import (
    PLANS,
    connect,
    raise_prices,
    start_together,
    state,
)


# --8<-- [start:fix]
def add_plans(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE IF NOT EXISTS plans (name TEXT PRIMARY KEY, price INTEGER)")
    db.execute("CREATE TABLE IF NOT EXISTS runs (worker INTEGER)")
    db.executemany("INSERT OR IGNORE INTO plans VALUES (?, ?)", PLANS.items())
    db.execute("PRAGMA user_version = 1")


def migrate() -> None:
    with closing(connect()) as db, db:
        (done,) = db.execute("PRAGMA user_version").fetchone()
        for change in (add_plans, raise_prices)[done:]:
            change(db)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    start_together()  # 実験のため。全ワーカーの起動をそろえる
    migrate()
    yield


# --8<-- [end:fix]
app = FastAPI(lifespan=lifespan)


@app.get("/plans")
def read_plans() -> dict[str, int]:
    return {**state(), "worker": os.getpid()}
