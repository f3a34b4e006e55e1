"""The app that `conformance.py` runs on each server: one route per question."""

import asyncio
import os
import time
from pathlib import Path

from fastapi import BackgroundTasks, FastAPI, Request, WebSocket

app = FastAPI()


def note(word: str) -> None:
    """Leave a word where the tool reads it, with a single write."""
    with Path(os.environ["NOTES"]).open("a", encoding="utf-8") as notes:
        notes.write(f"{word}\n")


@app.get("/client")
async def client(request: Request) -> dict[str, str]:
    """Whom the app takes for its client."""
    assert request.client is not None
    return {"host": request.client.host}


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    """Say the first message back."""
    await socket.accept()
    await socket.send_text(await socket.receive_text())
    await socket.close()


@app.get("/wait/{seconds}")
async def wait(seconds: float) -> dict[str, str]:
    """Wait as for a slow database, and tell how the waiting ended."""
    note("started")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note("cancelled")
        raise
    note("finished")
    return {"state": "finished"}


@app.get("/block/{seconds}")
async def block(seconds: float) -> None:
    """Stop the event loop."""
    note(f"{os.getpid()}")
    time.sleep(seconds)


async def work(seconds: float) -> None:
    """What BackgroundTasks runs after the answer."""
    note("started")
    await asyncio.sleep(seconds)
    note("finished")


@app.post("/later/{seconds}", status_code=202)
async def later(seconds: float, tasks: BackgroundTasks) -> None:
    """Answer first, work afterwards."""
    tasks.add_task(work, seconds)
