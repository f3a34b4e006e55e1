"""加算を threading.Lock で守ります。

誘惑: 数が合わないのは競合だと考え、ロックをかければ直ると思えます。
破綻: 競合ではなく変数が 4 つあるのが原因で、ロックもプロセスごとに別のものです。
"""

import os
import threading

from fastapi import FastAPI

app = FastAPI()
visits = 0


# --8<-- [start:fix]
lock = threading.Lock()


@app.post("/visits")
def add_visit() -> dict[str, int]:
    global visits
    with lock:
        visits += 1
        return {"visits": visits, "worker": os.getpid()}


# --8<-- [end:fix]
@app.get("/visits")
def read_visits() -> dict[str, int]:
    return {"visits": visits, "worker": os.getpid()}
