"""料金表を返します。変更は行わず、済んでいなければ起動しません。"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from fastapi import FastAPI

from examples.lifespan_per_worker.migrations import connect, pending, state


# --8<-- [start:check]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with closing(connect()) as db:
        if pending(db):
            raise RuntimeError("先に python -m examples.lifespan_per_worker.migrate を実行する")
    yield


# --8<-- [end:check]
app = FastAPI(lifespan=lifespan)


@app.get("/plans")
def read_plans() -> dict[str, int]:
    return {**state(), "worker": os.getpid()}
