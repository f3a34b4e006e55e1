"""The counter, slow enough that something can happen in the middle of a run."""

import asyncio
import os
from pathlib import Path

from fastapi import FastAPI

app = FastAPI()
visits = 0
WORK = 0.05
"""Seconds of simulated work per visit: 1000 visits, 8 at a time, take six seconds."""


@app.post("/visits")
async def add_visit() -> dict[str, int]:
    global visits
    Path(os.environ["STARTED_FILE"]).touch()
    await asyncio.sleep(WORK)
    visits += 1
    return {"visits": visits}


@app.get("/visits")
async def read_visits() -> dict[str, int]:
    return {"visits": visits}
