"""記事の閲覧数と最近の足あとを、Memcached に置きます。

症状: エラーは出ないのに、閲覧数も足あとも実際より少なく、同じ番号が何度も返ります。
"""

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Body, FastAPI
from pymemcache import PooledClient

MEMCACHED_URL = os.environ.get("MEMCACHED_URL", "memcached://127.0.0.1:11211")
LOAD = 0.1  # 秒。キャッシュにないとき、データベースに尋ねる時間のつもり
LOG = 0.002  # 秒。アクセスログを書く時間のつもり
KEEP = 200  # 残す足あとの数


# --8<-- [start:lifespan]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # 接続プールはワーカープロセスごとに 1 つ。つなぐのは、最初に使うとき
    app.state.cache = PooledClient(
        MEMCACHED_URL.removeprefix("memcached://"),
        connect_timeout=3,
        timeout=3,
        default_noreply=False,  # add や set の成否を、返事を待って確かめる
    )
    yield
    app.state.cache.close()


# --8<-- [end:lifespan]
app = FastAPI(lifespan=lifespan)


def load_views() -> int:
    """データベースに保存した閲覧数を読むつもりの関数です。新しい記事なので 0 です。"""
    time.sleep(LOAD)
    return 0


def write_log(line: str) -> None:
    """アクセスログに 1 行書くつもりの関数です。"""
    time.sleep(LOG)


# --8<-- [start:views]
@app.post("/views")
def add_view() -> dict[str, int]:
    stored = app.state.cache.get("views")
    views = (load_views() if stored is None else int(stored)) + 1
    write_log(f"閲覧 {views}")
    app.state.cache.set("views", views)
    return {"views": views, "worker": os.getpid()}


# --8<-- [end:views]
# --8<-- [start:readers]
@app.post("/readers")
def add_reader(name: Annotated[str, Body(embed=True)]) -> dict[str, int]:
    readers = json.loads(app.state.cache.get("readers") or "[]")
    readers = [*readers, name][-KEEP:]
    write_log(f"足あと {name}")
    app.state.cache.set("readers", json.dumps(readers))
    return {"readers": len(readers), "worker": os.getpid()}


# --8<-- [end:readers]
@app.get("/views")
def read_views() -> dict[str, int]:
    return {"views": int(app.state.cache.get("views") or 0), "worker": os.getpid()}


@app.get("/readers")
def read_readers() -> dict[str, int]:
    readers = json.loads(app.state.cache.get("readers") or "[]")
    return {"readers": len(readers), "worker": os.getpid()}


@app.post("/titles/{batch}")
def cache_titles(batch: int) -> dict[str, int]:
    """ほかの記事の題名 2000 件を、同じ Memcached に置きます。"""
    app.state.cache.set_many({f"title:{batch}:{n}": f"title {n}" for n in range(2000)})
    return {"worker": os.getpid()}
