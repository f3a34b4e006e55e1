"""商品カタログを、1 つの JSON ファイルに書き直します。

一時ファイルに書き終えてから、名前を 1 回の操作で付け替えます。
"""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

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
    # 同じフォルダーに作る。別のディスクにあると、付け替えられない
    with NamedTemporaryFile("w", dir=FOLDER, suffix=".tmp", delete_on_close=False) as file:
        file.writelines(render(version))
        file.flush()
        os.fchmod(file.fileno(), 0o644)  # 一時ファイルは、自分しか読めない 600 で始まる
        os.fsync(file.fileno())  # 中身がディスクに届いてから、名前を付け替える
        Path(file.name).replace(CATALOG)
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
