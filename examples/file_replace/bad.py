"""商品カタログを、1 つの JSON ファイルに書き直します。

症状: 書き直しのたびに読み取りが 500 になり、途中でワーカーが死ぬとずっと 500 のままです。
"""

import asyncio
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


# --8<-- [start:write]
@app.post("/catalog/{version}")
def write_catalog(version: int) -> dict[str, int]:
    with CATALOG.open("w") as file:
        file.writelines(render(version))
    return {"version": version, "worker": os.getpid()}


# --8<-- [end:write]
@app.get("/catalog")
def read_catalog() -> dict[str, int]:
    catalog = json.loads(CATALOG.read_text())
    return {"version": catalog["version"], "items": len(catalog["items"])}


@app.get("/files")
async def read_files(full: int = 0) -> dict[str, int]:
    """フォルダーを調べる。full を渡すと、その半分まで書かれたファイルを見るまで待つ。"""
    while full and not full / 2 < min(file_sizes()) < full:
        await asyncio.sleep(0.005)
    sizes = file_sizes()
    return {"files": len(sizes), "smallest": min(sizes), "worker": os.getpid()}


def file_sizes() -> list[int]:
    return [path.stat().st_size for path in FOLDER.iterdir()]
