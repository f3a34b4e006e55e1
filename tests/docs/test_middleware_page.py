"""The page 「ミドルウェア」: what its blocks can't show in one process of their own."""

import asyncio
import importlib
import importlib.metadata
import inspect
import sys
from pathlib import Path

import aiohttp
import pytest
from fastapi import (
    Depends,
    FastAPI,
    HTTPException,
    Request,
    Response,
    WebSocket,
    WebSocketException,
)
from fastapi.requests import HTTPConnection
from fastapi.testclient import TestClient
from packaging.requirements import Requirement
from playwright.async_api import async_playwright
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.sessions import SessionMiddleware
from starlette.websockets import WebSocketDisconnect

import fences
from workerlab import stage
from workerlab.catalog import ROOT
from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Result
from workerlab.trace import count_by_worker
from workerlab.uvicorn import UvicornCluster

PAGE = ROOT / "docs" / "solutions" / "middleware.md"


def block(words: str) -> str:
    """The page's Python block whose title holds *words*."""
    (fence,) = (f for f in fences.find(PAGE) if words in f.attributes.get("title", ""))
    return fence.body + "\n"


def write(tmp_path: Path, source: str) -> Path:
    app = tmp_path / "page_app.py"
    app.write_text(source, encoding="utf-8")
    return app


def play(app: Path, requests: int, workers: int) -> Result:
    async def traffic(cluster: Cluster) -> None:
        await burst(cluster, requests, "GET", "/", step="get")

    experiment = Experiment(
        topic="t", title="ミドルウェア", traffic=traffic, requests=requests, invariants=()
    )
    return asyncio.run(stage.play(experiment, str(app), workers=workers))


def test_rate_limit_counts_per_worker(tmp_path: Path) -> None:
    """The page's limiter lets the first 10 of every worker pass, so up to 40 with four."""
    app = write(tmp_path, block("rate_limit.py"))
    for workers in (1, 4):
        trace = play(app, 200, workers).trace
        answered = count_by_worker(trace.exchanges)
        passed = count_by_worker([e for e in trace.exchanges if e.status == 200])
        assert passed == {worker: min(10, count) for worker, count in answered.items()}
        assert (sum(passed.values()) > 10) == (workers > 1)
        assert {e.status for e in trace.exchanges} == {200, 429}


def test_one_connection_sees_the_limit(tmp_path: Path) -> None:
    """Over one kept connection only one worker counts, so the fault hides."""

    async def ask() -> list[int]:
        app = write(tmp_path, block("rate_limit.py"))
        async with (
            UvicornCluster(str(app), workers=4, cwd=ROOT) as cluster,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as client,
        ):
            statuses = []
            for _ in range(30):
                async with client.get(f"http://127.0.0.1:{cluster.port}/") as answer:
                    await answer.read()
                    statuses.append(answer.status)
            return statuses

    assert asyncio.run(ask()) == [200] * 10 + [429] * 20


def test_middleware_is_made_once_per_worker(tmp_path: Path) -> None:
    """`__init__` of a middleware runs once in each worker process."""
    source = block("rate_limit.py").replace(
        "        self.app = app\n",
        "        self.app = app\n"
        "        with open(__file__ + '.made', 'a') as file:\n"
        "            file.write('made\\n')\n",
    )
    app = write(tmp_path, source)
    play(app, 20, 2)
    assert (tmp_path / "page_app.py.made").read_text() == "made\n" * 2


BACKGROUND = """
import asyncio
import os
from pathlib import Path

from fastapi import BackgroundTasks, FastAPI

app = FastAPI()


@app.middleware("http")
async def pass_on(request, call_next):
    return await call_next(request)


async def work() -> None:
    Path(__file__ + ".begun").touch()
    while not Path(__file__ + ".left").exists():
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)  # the server has noticed by now
    Path(__file__ + ".done").touch()


@app.get("/")
async def start(tasks: BackgroundTasks) -> None:
    tasks.add_task(work)
"""


def test_background_task_survives_the_client(tmp_path: Path) -> None:
    """The client has its answer and disconnects; the task runs to its end."""
    app = write(tmp_path, BACKGROUND)

    async def exists(ending: str) -> None:
        async with asyncio.timeout(30):
            while not Path(f"{app}.{ending}").exists():
                await asyncio.sleep(0.01)

    async def leave() -> None:
        async with UvicornCluster(str(app), workers=1, cwd=ROOT) as cluster:
            async with aiohttp.ClientSession() as client:
                async with client.get(f"http://127.0.0.1:{cluster.port}/") as answer:
                    assert await answer.read() == b"null"
                await exists("begun")
            Path(f"{app}.left").touch()  # the connection is closed
            await exists("done")

    asyncio.run(leave())


def test_itsdangerous_is_not_in_fastapi_standard() -> None:
    """Neither FastAPI with its extra `standard` nor Starlette alone asks for it."""
    asked = set()
    for line in importlib.metadata.requires("fastapi") or []:
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": "standard"}):
            asked.add(wanted.name)
    assert {"uvicorn", "jinja2"} <= asked
    assert "itsdangerous" not in asked
    needed = [Requirement(line) for line in importlib.metadata.requires("starlette") or []]
    (itsdangerous,) = (r for r in needed if r.name == "itsdangerous")
    assert itsdangerous.marker is not None
    assert not itsdangerous.marker.evaluate({"extra": ""})


def test_session_middleware_needs_itsdangerous(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the import fails at once."""
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    monkeypatch.delitem(sys.modules, "starlette.middleware.sessions", raising=False)
    with pytest.raises(ModuleNotFoundError, match="itsdangerous"):
        importlib.import_module("starlette.middleware.sessions")


def test_self_is_shared_by_requests_at_the_same_time(tmp_path: Path) -> None:
    """What a middleware keeps in `self` is overwritten by the next request."""
    app = write(
        tmp_path,
        """
import asyncio

from fastapi import FastAPI, Request


class Remember:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            self.mine = scope["query_string"].decode()
            scope["state"]["remember"] = self
        await self.app(scope, receive, send)


app = FastAPI()
app.add_middleware(Remember)
both = asyncio.Barrier(2)


@app.get("/")
async def read(request: Request, value: int) -> dict[str, int]:
    async with asyncio.timeout(10):
        await both.wait()
    seen = request.state.remember.mine
    return {"mine": int(seen == f"value={value}")}
""",
    )

    async def two(cluster: Cluster) -> None:
        async with asyncio.TaskGroup() as group:
            for value in (1, 2):
                path = f"/?value={value}"
                group.create_task(cluster.request("GET", path, step="get", value="mine"))

    experiment = Experiment(topic="t", title="t", traffic=two, requests=2, invariants=())
    trace = asyncio.run(stage.play(experiment, str(app), workers=1)).trace
    assert sorted(e.value or 0 for e in trace.step("get")) == [0, 1]


def test_state_carries_a_value_back() -> None:
    """What a route puts into `request.state` is there after `call_next`."""
    seen: list[str] = []
    app = FastAPI()

    @app.middleware("http")
    async def look(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        seen.append(request.state.user)
        return response

    @app.get("/")
    async def read(request: Request) -> None:
        request.state.user = "alice"

    TestClient(app).get("/")
    assert seen == ["alice"]


def test_one_dependency_guards_http_and_websocket() -> None:
    """A dependency on `HTTPConnection` refuses both."""

    def deny(connection: HTTPConnection) -> None:
        status = 403 if connection.scope["type"] == "http" else 1008
        error = HTTPException if status == 403 else WebSocketException
        raise error(status)

    app = FastAPI(dependencies=[Depends(deny)])

    @app.get("/")
    async def read() -> None: ...

    @app.websocket("/")
    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()

    client = TestClient(app)
    assert client.get("/").status_code == 403
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/"):
        pass


def test_signed_cookies_live_14_days_by_default() -> None:
    """In seconds, from the signature on."""
    parameters = inspect.signature(SessionMiddleware).parameters
    assert parameters["max_age"].default == 14 * 24 * 60 * 60


@pytest.mark.browser
def test_chromium_drops_the_page_s_large_cookie(tmp_path: Path) -> None:
    """4000 characters in the session: the cookie never comes back; 100 do."""
    source = block("4000 文字を入れたとき").partition("\nresponse = ")[0]
    source = source.replace("(request: Request)", "(request: Request, size: int)")
    source = source.replace('"x" * 4000', '"x" * size')
    source += """

@app.get("/")
async def read(request: Request) -> int:
    return len(request.session.get("note", ""))
"""
    app = write(tmp_path, source)

    async def visit() -> list[int]:
        async with (
            UvicornCluster(str(app), workers=1, cwd=ROOT) as cluster,
            async_playwright() as playwright,
        ):
            browser = await playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox"]
            )
            kept = []
            for size in (100, 4000):
                page = await (await browser.new_context()).new_page()
                await page.goto(f"http://127.0.0.1:{cluster.port}/")
                kept.append(
                    await page.evaluate(
                        "async size => {await fetch(`/note?size=${size}`, {method: 'POST'});"
                        " return await (await fetch('/')).json()}",
                        size,
                    )
                )
            await browser.close()
            return kept

    assert asyncio.run(visit()) == [100, 0]
