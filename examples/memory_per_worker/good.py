"""96 MB のモデルで商品をすすめ、来た人にくじを引いてもらいます。

モデルは読み込まず、ファイルのまま開きます。くじは、OS の乱数で引きます。
"""

import secrets

import numpy as np
from fastapi import FastAPI

from examples.memory_per_worker import model
from examples.memory_per_worker.model import features_of, model_file

app = FastAPI()
app.include_router(model.router)
# --8<-- [start:state]
MODEL = np.load(model_file(), mmap_mode="r")
lottery = secrets.SystemRandom()
# --8<-- [end:state]


@app.get("/users/{user}/recommendation")
def recommend(user: int) -> dict[str, int]:
    scores = MODEL @ features_of(user)  # 全商品の点数。モデルのすべての値を読む
    return {"item": int(scores.argmax()), "version": int(MODEL[0, 0])}


@app.post("/lottery")
async def draw() -> dict[str, float]:
    number = lottery.random()
    return {"number": number, "won": number < 0.01}
