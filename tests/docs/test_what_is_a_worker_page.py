"""What docs/workers/what_is_a_worker.md says, seen on real workers of every server."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from workerlab.servers import SERVERS

APP = """
import os
from contextlib import asynccontextmanager
from fastapi import FastAPI

IMPORTED = os.getpid()
STARTED = []

@asynccontextmanager
async def lifespan(app):
    STARTED.append(os.getpid())
    yield

app = FastAPI(lifespan=lifespan)

@app.get("/")
def read():
    return {"imported": IMPORTED, "started": STARTED, "worker": os.getpid()}
"""
CASES = [
    *((server, ()) for server in SERVERS),
    *((server, ("--preload",)) for server in SERVERS if server != "uvicorn"),
]


@pytest.mark.parametrize(("server", "options"), CASES)
def test_who_imports_the_app_and_how_a_worker_is_made(
    server: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    """Each worker imports and starts its own app; with --preload the parent imports it."""
    app = tmp_path / "made_here.py"
    app.write_text(APP, encoding="utf-8")

    async def look() -> None:
        cluster = SERVERS[server](str(app), workers=2, options=options)
        async with cluster:
            for _ in range(6):
                seen = (await cluster.request("GET", "/", step="look")).body
                importer = cluster.supervisor if options else seen["worker"]
                assert seen["imported"] == importer
                assert seen["started"] == [seen["worker"]]
            parent = psutil.Process(cluster.supervisor).cmdline()
            for pid in await cluster.workers():
                forked = psutil.Process(pid).cmdline() == parent
                assert forked == (server != "uvicorn")
                assert ("spawn_main" in str(psutil.Process(pid).cmdline())) != forked

    asyncio.run(look())


ASK = {
    "uvicorn": "import uvicorn; print(uvicorn.Config('main:app').workers)",
    "gunicorn": "from gunicorn.config import Config; print(Config().workers)",
}


@pytest.mark.parametrize("server", ASK)
@pytest.mark.parametrize(("variable", "workers"), [(None, 1), ("3", 3)])
def test_number_of_workers_without_an_option(
    server: str, variable: str | None, workers: int
) -> None:
    """WEB_CONCURRENCY, else a single one."""
    env = {k: v for k, v in os.environ.items() if k != "WEB_CONCURRENCY"}
    if variable:
        env["WEB_CONCURRENCY"] = variable
    asked = subprocess.run(
        [sys.executable, "-c", ASK[server]], env=env, capture_output=True, text=True, check=True
    )
    assert int(asked.stdout) == workers


def test_uvicorn_has_no_preload() -> None:
    """As the table says."""
    shown = subprocess.run(
        [sys.executable, "-m", "uvicorn", "--help"], capture_output=True, text=True, check=True
    )
    assert "--workers" in shown.stdout
    assert "preload" not in shown.stdout
