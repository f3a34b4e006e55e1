"""モデルを読み込む関数に @lru_cache を付け、最初の 1 回だけ読み込みます。

誘惑: 2 回目からは同じ配列が返るので、モデルはメモリに 1 つしかないはずです。
破綻: lru_cache が覚えるのは 1 つのプロセスの中だけで、ワーカーごとに 1 つずつ読み込みます。
"""

import secrets
from functools import lru_cache

import numpy as np
from fastapi import FastAPI

from examples.memory_per_worker import model
from examples.memory_per_worker.model import features_of, model_file

app = FastAPI()
app.include_router(model.router)


# --8<-- [start:fix]
@lru_cache
def get_model() -> np.ndarray:
    return np.load(model_file())


# --8<-- [end:fix]
lottery = secrets.SystemRandom()


@app.get("/users/{user}/recommendation")
def recommend(user: int) -> dict[str, int]:
    scores = get_model() @ features_of(user)  # 全商品の点数。モデルのすべての値を読む
    return {"item": int(scores.argmax()), "version": int(get_model()[0, 0])}


@app.post("/lottery")
async def draw() -> dict[str, float]:
    number = lottery.random()
    return {"number": number, "won": number < 0.01}
