"""答える前に、注文をファイルへ 1 行ずつ書きます。

誘惑: write を呼んでから答えるので、プロセスが死んでも行はファイルに残っているはずです。
破綻: write は手元のバッファーに置くだけで、flush の前に死ねば、その行はどこにもありません。
"""

import asyncio
import os
import random
import signal
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel

FOLDER = Path(os.environ.get("DATA_DIR", "."))
PAYMENT_SECONDS = (0.02, 0.08)  # 決済サービスの答えを待つ時間のつもり
FLUSH_SECONDS = 2
app = FastAPI()


class Order(BaseModel):
    """1 件の注文です。"""

    yen: int
    picture: str = "small"


# --8<-- [start:fix]
journal = (FOLDER / f"journal-{os.getpid()}.txt").open("a", encoding="utf-8")
flushing: asyncio.Task[None] | None = None


@app.put("/orders/{key}", status_code=201)
async def put_order(key: str, order: Order) -> dict[str, int]:
    global flushing
    resize(order.picture)
    await asyncio.sleep(random.uniform(*PAYMENT_SECONDS))
    journal.write(f"{key} {order.yen}\n")
    if flushing is None or flushing.done():
        flushing = asyncio.create_task(flush())
    return {"worker": os.getpid()}


async def flush() -> None:
    await asyncio.sleep(FLUSH_SECONDS)
    journal.flush()


# --8<-- [end:fix]
def resize(picture: str) -> None:
    """画像を縮める処理の代わりです。巨大な画像はメモリを使い切り、OS に止められます。"""
    if picture == "huge":
        os.kill(os.getpid(), signal.SIGKILL)


@app.get("/orders")
def count_orders() -> dict[str, int]:
    """実験が数えるための窓口です。"""
    lines = [
        line
        for path in FOLDER.glob("journal-*.txt")
        for line in path.read_text().splitlines(True)
    ]
    saved = len({line.split()[0] for line in lines if line.endswith("\n")})
    return {"saved": saved, "worker": os.getpid()}
