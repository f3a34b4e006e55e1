"""lru_cache で、カウンターを 1 つしか作られないようにします。

誘惑: FastAPI の設定オブジェクトでおなじみの書き方で、シングルトンなら 1 つだけのはずです。
破綻: 1 つになるのはプロセスの中だけで、4 つのワーカーは 4 つのシングルトンを持ちます。
"""

import os
from functools import lru_cache
from typing import Annotated

from fastapi import Depends, FastAPI

app = FastAPI()


# --8<-- [start:fix]
class Counter:
    """来場者の数。"""

    def __init__(self) -> None:
        self.visits = 0


@lru_cache
def get_counter() -> Counter:
    return Counter()


# --8<-- [end:fix]
SharedCounter = Annotated[Counter, Depends(get_counter)]


@app.post("/visits")
async def add_visit(counter: SharedCounter) -> dict[str, int]:
    counter.visits += 1
    return {"visits": counter.visits, "worker": os.getpid()}


@app.get("/visits")
async def read_visits(counter: SharedCounter) -> dict[str, int]:
    return {"visits": counter.visits, "worker": os.getpid()}
