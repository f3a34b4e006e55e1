"""売上メールの中身と、実験が数えるための窓口です。どの版のアプリも、これを使います。"""

import asyncio
import os

import redis.asyncio as redis
from fastapi import APIRouter, Request

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
INTERVAL = 0.5  # 秒。1 分ごとのメールを、実験のために縮めた
AGGREGATION = float(os.environ.get("AGGREGATION", "0.1"))  # 秒。集計にかかる時間
POLL = 0.05
PATIENCE = 12  # 秒。実験が、届くはずのメールを待つ長さ

router = APIRouter()


# --8<-- [start:tick]
async def current_tick(store: redis.Redis) -> int:
    """いまが何番目の区切りか。どのワーカーも、Redis の時計で数える。"""
    seconds, microseconds = await store.time()
    return int((seconds + microseconds / 1_000_000) / INTERVAL)


# --8<-- [end:tick]
async def aggregate(store: redis.Redis, tick: int) -> None:
    """区切りの売上を集計する代わりです。だれが始めたかを書き留めます。"""
    await store.set("working", f"{os.getpid()} {tick}")
    await asyncio.sleep(AGGREGATION)
    await store.delete("working")
    await store.hincrby("finished", str(tick), 1)


@router.get("/tick")
async def read_tick(request: Request) -> dict[str, int]:
    return {"tick": await current_tick(request.app.state.store), "worker": os.getpid()}


@router.get("/working")
async def read_working(request: Request) -> dict[str, int]:
    """集計が始まるのを待って、始めたワーカーと、集計している区切りを返します。"""
    while (working := await request.app.state.store.get("working")) is None:
        await asyncio.sleep(0.01)
    worker, tick = working.split()
    return {"working": int(worker), "tick": int(tick)}


@router.get("/mails")
async def read_mails(
    request: Request,
    first: int,
    count: int,
    until: int,
    whole: int = 0,
    twice: int = 0,
    plus: int = 0,
) -> dict[str, int]:
    """first から count 個の区切りに送られたメールを、区切り until まで待って数えます。

    whole なら全部の区切りがそろうのを、twice なら 2 度集計された区切りが出るのを待ちます。
    plus は、それまでに数えたメールです。
    """
    store = request.app.state.store
    while await current_tick(store) < until:
        await asyncio.sleep(POLL)
    for _ in range(int(PATIENCE / POLL)):
        seen = await counts(store, first, count)
        if seen["ticks"] >= count * whole and seen["repeated"] >= twice:
            break
        await asyncio.sleep(POLL)
    return {**seen, "total": plus + seen["mails"], "worker": os.getpid()}


async def counts(store: redis.Redis, first: int, count: int) -> dict[str, int]:
    ticks = range(first, first + count)
    sent = [tick for tick in map(int, await store.lrange("mails", 0, -1)) if tick in ticks]
    finished = await store.hmget("finished", [str(tick) for tick in ticks])
    repeated = sum(int(runs or 0) > 1 for runs in finished)
    return {"mails": len(sent), "ticks": len(set(sent)), "repeated": repeated}
