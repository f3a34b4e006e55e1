"""料金表を返します。起動するときに、まだ行われていない変更をデータベースに加えます。

症状: 100 円の値上げをデプロイすると、料金が 400 円上がり、同じ料金が 4 行に増えます。
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from fastapi import FastAPI

from examples.lifespan_per_worker.migrations import connect, pending, start_together, state


# --8<-- [start:migrate]
def migrate() -> None:
    with closing(connect()) as db, db:
        for change in pending(db):
            change(db)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    start_together()  # 実験のため。全ワーカーの起動をそろえる
    migrate()
    yield


# --8<-- [end:migrate]
app = FastAPI(lifespan=lifespan)


@app.get("/plans")
def read_plans() -> dict[str, int]:
    return {**state(), "worker": os.getpid()}
