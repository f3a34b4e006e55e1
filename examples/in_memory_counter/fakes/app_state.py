"""カウンターを app.state に置きます。

誘惑: グローバル変数が悪いのだと考え、フレームワークが用意した置き場所に移したくなります。
破綻: app.state もただの Python オブジェクトで、ワーカープロセスごとに 1 つずつあります。
"""

import os

from fastapi import FastAPI

app = FastAPI()
app.state.visits = 0


# --8<-- [start:fix]
@app.post("/visits")
async def add_visit() -> dict[str, int]:
    app.state.visits += 1
    return {"visits": app.state.visits, "worker": os.getpid()}


# --8<-- [end:fix]
@app.get("/visits")
async def read_visits() -> dict[str, int]:
    return {"visits": app.state.visits, "worker": os.getpid()}
