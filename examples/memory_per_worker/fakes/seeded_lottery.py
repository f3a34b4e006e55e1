"""あとから同じくじを再現できるように、乱数の種を決めておきます。

誘惑: 種が決まっていれば、障害のあとでも同じ乱数を作り直して、くじを調べられます。
破綻: どのワーカーも同じ種から始めるので、同じ番号を同じ順に引きます。
"""

import numpy as np
from fastapi import FastAPI

from examples.memory_per_worker import model
from examples.memory_per_worker.model import features_of, model_file

app = FastAPI()
app.include_router(model.router)
# --8<-- [start:fix]
MODEL = np.load(model_file(), mmap_mode="r")
lottery = np.random.default_rng(20261124)
# --8<-- [end:fix]


@app.get("/users/{user}/recommendation")
def recommend(user: int) -> dict[str, int]:
    scores = MODEL @ features_of(user)  # 全商品の点数。モデルのすべての値を読む
    return {"item": int(scores.argmax()), "version": int(MODEL[0, 0])}


@app.post("/lottery")
async def draw() -> dict[str, float]:
    number = lottery.random()
    return {"number": number, "won": number < 0.01}
