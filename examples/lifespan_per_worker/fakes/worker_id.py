"""環境変数 WORKER_ID が 1 のワーカーだけが、変更を行います。

誘惑: 番号で 1 つを選べば、ロックがなくても、変更を行うワーカーは 1 つになるはずです。
破綻: 番号を渡すサーバーがないので、どのワーカーも既定値の 1 を自分の番号だとみなします。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from fastapi import FastAPI

from examples.lifespan_per_worker.migrations import connect, pending, start_together, state


# --8<-- [start:fix]
def migrate() -> None:
    with closing(connect()) as db, db:
        for change in pending(db):
            change(db)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    start_together()  # 実験のため。全ワーカーの起動をそろえる
    if os.environ.get("WORKER_ID", "1") == "1":
        migrate()
    yield


# --8<-- [end:fix]
app = FastAPI(lifespan=lifespan)


@app.get("/plans")
def read_plans() -> dict[str, int]:
    return {**state(), "worker": os.getpid()}
