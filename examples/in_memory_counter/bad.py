"""来場者に通し番号を返します。

症状: 手元では正しいのに、本番では同じ番号が何度も出て、数が増えたり減ったりします。
"""

import os

from fastapi import FastAPI

app = FastAPI()

# --8<-- [start:counter]
visits = 0  # このプロセスのメモリにある


@app.post("/visits")
async def add_visit() -> dict[str, int]:
    global visits
    visits += 1
    return {"visits": visits, "worker": os.getpid()}


@app.get("/visits")
async def read_visits() -> dict[str, int]:
    return {"visits": visits, "worker": os.getpid()}


# --8<-- [end:counter]
