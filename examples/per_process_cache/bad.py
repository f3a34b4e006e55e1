"""商品の価格を返します。一度読んだ価格は、メモリの辞書に覚えます。

症状: 値上げしたあとも、開き直すたびに古い価格と新しい価格が入れ替わります。
"""

import os
from pathlib import Path
from typing import Annotated

from fastapi import Body, FastAPI

DATABASE = Path(os.environ.get("DATA_DIR", ".")) / "price.txt"  # データベースの代わり


def load_price() -> int:
    return int(DATABASE.read_text()) if DATABASE.exists() else 100


app = FastAPI()

# --8<-- [start:cache]
cache: dict[str, int] = {}  # このプロセスのメモリにある


@app.get("/price")
async def read_price() -> dict[str, int]:
    if "price" in cache:
        return {"price": cache["price"], "computed": 0, "worker": os.getpid()}
    price = load_price()
    cache["price"] = price
    return {"price": price, "computed": 1, "worker": os.getpid()}


@app.put("/price")
async def change_price(price: Annotated[int, Body(embed=True)]) -> dict[str, int]:
    DATABASE.write_text(str(price))
    cache.pop("price", None)  # 古い価格を捨てる
    return {"price": price, "worker": os.getpid()}


# --8<-- [end:cache]
