"""記事の閲覧数と最近の足あとを、Memcached に置きます。

閲覧数は incr で進め、足あとは CAS で書き換えます。
"""

import json
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Body, FastAPI, HTTPException
from pymemcache import PooledClient

MEMCACHED_URL = os.environ.get("MEMCACHED_URL", "memcached://127.0.0.1:11211")
LOAD = 0.1  # 秒。キャッシュにないとき、データベースに尋ねる時間のつもり
LOG = 0.002  # 秒。アクセスログを書く時間のつもり
KEEP = 200  # 残す足あとの数
ATTEMPTS = 50  # CAS に負けたら読み直す。際限なく続けない


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
    while (views := app.state.cache.incr("views", 1)) is None:  # まだないか、追い出された
        app.state.cache.add("views", load_views())  # 置けるのは、最初の 1 人だけ
    write_log(f"閲覧 {views}")
    return {"views": views, "worker": os.getpid()}


# --8<-- [end:views]
# --8<-- [start:readers]
@app.post("/readers")
def add_reader(name: Annotated[str, Body(embed=True)]) -> dict[str, int]:
    for _ in range(ATTEMPTS):
        stored, token = app.state.cache.gets("readers")
        readers = [*json.loads(stored or "[]"), name][-KEEP:]
        if stored is None:
            done = app.state.cache.add("readers", json.dumps(readers))
        else:  # 読んだときから変わっていなければ書く
            done = app.state.cache.cas("readers", json.dumps(readers), token)
        if done:
            write_log(f"足あと {name}")
            return {"readers": len(readers), "worker": os.getpid()}
        time.sleep(random.uniform(0, 0.02))  # 負けた人どうしが、また同時に書かないように
    raise HTTPException(503, "混み合っています")


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
