"""multiprocessing.Manager の辞書とロックで数えます。

誘惑: 標準ライブラリの「プロセス間で共有できる辞書」が、まさに欲しいものに見えます。
破綻: Manager を各ワーカーが起動時に作るので、共有サーバー自体が 4 つに分かれます。
"""

import multiprocessing
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI


# --8<-- [start:fix]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with multiprocessing.Manager() as manager:
        app.state.shared = manager.dict(visits=0)
        app.state.lock = manager.Lock()
        yield


# --8<-- [end:fix]
app = FastAPI(lifespan=lifespan)


@app.post("/visits")
def add_visit() -> dict[str, int]:
    with app.state.lock:
        visits = app.state.shared["visits"] + 1
        app.state.shared["visits"] = visits
    return {"visits": visits, "worker": os.getpid()}


@app.get("/visits")
def read_visits() -> dict[str, int]:
    return {"visits": app.state.shared["visits"], "worker": os.getpid()}
