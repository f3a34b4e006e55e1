"""The app that `sweep.py` loads: one route that waits, one that computes."""

import asyncio

from fastapi import FastAPI

app = FastAPI()


# --8<-- [start:routes]
@app.get("/wait")
async def wait() -> dict[str, str]:
    """待つだけ。外の API やデータベースの代わり"""
    await asyncio.sleep(0.1)
    return {"state": "done"}


@app.get("/compute")
async def compute() -> dict[str, int]:
    """計算するだけ。CPU を使い切る"""
    return {"sum": sum(n * n for n in range(300_000))}


# --8<-- [end:routes]
