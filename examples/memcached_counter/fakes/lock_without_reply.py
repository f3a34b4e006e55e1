"""add で置くキーをロックにして、読んでから書くまでを守ります。

誘惑: add に成功するのは 1 人だけという性質で、全ワーカーに効くロックが作れます。
破綻: pymemcache の add は初期設定では返事を待たずに True を返すので、全員がロックを取ります。
"""

import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

from fastapi import Body, FastAPI
from pymemcache import PooledClient

MEMCACHED_URL = os.environ.get("MEMCACHED_URL", "memcached://127.0.0.1:11211")
LOAD = 0.1  # 秒。キャッシュにないとき、データベースに尋ねる時間のつもり
LOG = 0.002  # 秒。アクセスログを書く時間のつもり
KEEP = 200  # 残す足あとの数


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # 接続プールはワーカープロセスごとに 1 つ。つなぐのは、最初に使うとき
    app.state.cache = PooledClient(
        MEMCACHED_URL.removeprefix("memcached://"),
        connect_timeout=3,
        timeout=3,
    )
    yield
    app.state.cache.close()


app = FastAPI(lifespan=lifespan)


def load_views() -> int:
    """データベースに保存した閲覧数を読むつもりの関数です。新しい記事なので 0 です。"""
    time.sleep(LOAD)
    return 0


def write_log(line: str) -> None:
    """アクセスログに 1 行書くつもりの関数です。"""
    time.sleep(LOG)


# --8<-- [start:fix]
@contextmanager
def locked(name: str) -> Iterator[None]:
    while not app.state.cache.add(f"{name}:lock", 1, expire=10):
        time.sleep(0.005)
    try:
        yield
    finally:
        app.state.cache.delete(f"{name}:lock")


@app.post("/views")
def add_view() -> dict[str, int]:
    with locked("views"):
        stored = app.state.cache.get("views")
        views = (load_views() if stored is None else int(stored)) + 1
        write_log(f"閲覧 {views}")
        app.state.cache.set("views", views)
    return {"views": views, "worker": os.getpid()}


@app.post("/readers")
def add_reader(name: Annotated[str, Body(embed=True)]) -> dict[str, int]:
    with locked("readers"):
        readers = json.loads(app.state.cache.get("readers") or "[]")
        readers = [*readers, name][-KEEP:]
        write_log(f"足あと {name}")
        app.state.cache.set("readers", json.dumps(readers))
    return {"readers": len(readers), "worker": os.getpid()}


# --8<-- [end:fix]
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
