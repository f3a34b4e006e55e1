"""functools.lru_cache で読み込みを 1 回にし、値上げのときに cache_clear を呼びます。

誘惑: 標準ライブラリの 1 行で済み、捨てる関数まで用意されています。
破綻: lru_cache の中身はプロセスのメモリにあり、cache_clear も自分のワーカーの分しか消しません。
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from fastapi import Body, FastAPI

DATABASE = Path(os.environ.get("DATA_DIR", ".")) / "price.txt"  # データベースの代わり

app = FastAPI()


# --8<-- [start:fix]
@lru_cache
def load_price() -> int:
    return int(DATABASE.read_text()) if DATABASE.exists() else 100


@app.put("/price")
async def change_price(price: Annotated[int, Body(embed=True)]) -> dict[str, int]:
    DATABASE.write_text(str(price))
    load_price.cache_clear()
    return {"price": price, "worker": os.getpid()}


# --8<-- [end:fix]
@app.get("/price")
async def read_price() -> dict[str, int]:
    misses = load_price.cache_info().misses
    price = load_price()
    computed = load_price.cache_info().misses - misses
    return {"price": price, "computed": computed, "worker": os.getpid()}
