"""変更が残っていれば、ファイルのロックを取って行います。

誘惑: ロックを取れたワーカーしか変更を行わず、起動のたびにロックを待つ無駄もありません。
破綻: 待っていたワーカーは、ロックを取る前に調べた「残っている」を信じて、もう一度行います。
"""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from fastapi import FastAPI

from examples.lifespan_per_worker.migrations import (
    FOLDER,
    connect,
    pending,
    start_together,
    state,
)


# --8<-- [start:fix]
def migrate() -> None:
    with closing(connect()) as db, db:
        changes = pending(db)
        if changes:
            with (FOLDER / "migrate.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for change in changes:
                    change(db)
                db.commit()  # ロックを外す前に確定する


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
