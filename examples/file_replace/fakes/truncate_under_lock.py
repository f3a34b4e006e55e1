"""flock の中で空にして書き直し、読む側も共有ロックを取ります。

誘惑: 書いている間は読ませなければよいので、読み書きのロックで囲みます。
破綻: 書いている途中で死ぬとロックだけが外れ、書きかけのファイルが残ります。
"""

import asyncio
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from fastapi import FastAPI

FOLDER = Path(os.environ.get("DATA_DIR", "."))
CATALOG = FOLDER / "catalog.json"
ITEMS = 20_000
FETCH = 0.03  # 秒。商品を 1000 件ずつ、データベースから読む時間のつもり

app = FastAPI()


def render(version: int) -> Iterator[str]:
    """カタログの JSON を、先頭から少しずつ作る。"""
    yield f'{{"version": {version}, "items": [0'
    for item in range(1, ITEMS):
        if item % 1000 == 0:
            time.sleep(FETCH)
        yield f", {item}"
    yield "]}"


# --8<-- [start:fix]
@app.post("/catalog/{version}")
def write_catalog(version: int) -> dict[str, int]:
    with CATALOG.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.writelines(render(version))
        file.flush()
        os.fsync(file.fileno())
    return {"version": version, "worker": os.getpid()}


@app.get("/catalog")
def read_catalog() -> dict[str, int]:
    with CATALOG.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        catalog = json.load(file)
    return {"version": catalog["version"], "items": len(catalog["items"])}


# --8<-- [end:fix]
@app.get("/files")
async def read_files(full: int = 0) -> dict[str, int]:
    """フォルダーを調べる。full を渡すと、その半分まで書かれたファイルを見るまで待つ。"""
    while full and not full / 2 < min(file_sizes()) < full:
        await asyncio.sleep(0.005)
    sizes = file_sizes()
    return {"files": len(sizes), "smallest": min(sizes), "worker": os.getpid()}


def file_sizes() -> list[int]:
    return [path.stat().st_size for path in FOLDER.iterdir()]
