"""モデルを読み込んだあと、gc.freeze() を呼びます。

誘惑: gc.freeze() は、子プロセスと共有するメモリを増やす方法として、Python の文書にあります。
破綻: 自分のメモリに読み込んだあとでは共有する相手がおらず、ワーカーごとに 1 つずつ持ちます。
"""

import gc
import secrets

import numpy as np
from fastapi import FastAPI

from examples.memory_per_worker import model
from examples.memory_per_worker.model import features_of, model_file

app = FastAPI()
app.include_router(model.router)
# --8<-- [start:fix]
MODEL = np.load(model_file())
gc.freeze()
# --8<-- [end:fix]
lottery = secrets.SystemRandom()


@app.get("/users/{user}/recommendation")
def recommend(user: int) -> dict[str, int]:
    scores = MODEL @ features_of(user)  # 全商品の点数。モデルのすべての値を読む
    return {"item": int(scores.argmax()), "version": int(MODEL[0, 0])}


@app.post("/lottery")
async def draw() -> dict[str, float]:
    number = lottery.random()
    return {"number": number, "won": number < 0.01}
