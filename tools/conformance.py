"""How servers behave when something goes wrong: asks each one, writes the page's table.

    .venv/bin/python tools/conformance.py             # every server
    .venv/bin/python tools/conformance.py granian     # one of them

Writes `docs/assets/recordings/choose_a_server/conformance.{json,txt}`. Takes some minutes:
that nobody kills a hung worker is only known after waiting for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import aiohttp
import psutil
from gunicorn.config import make_settings
from uvicorn.main import main as uvicorn_command

from workerlab.catalog import ROOT
from workerlab.processes import ProcessCluster, kill_group, python_module
from workerlab.servers import SERVERS

APP = ROOT / "tools" / "conformance_app.py"
FOLDER = ROOT / "docs" / "assets" / "recordings" / "choose_a_server"
PATIENCE = 180.0
"""Seconds within which what a server does must have happened; generous for a busy machine."""
UNTOUCHED = 20.0
"""Seconds after which a hung worker counts as left alone: ten times the limit that is set."""
SENT_FOR = "203.0.113.9"
"""An address for examples (RFC 5737), which no client here has."""


class GranianCluster(ProcessCluster):
    """granian takes no descriptor: it binds the port that we had, after we have let go."""

    name = "granian"

    def command(self, fd: int) -> Sequence[str]:
        """See `ProcessCluster.command`."""
        serve = python_module(
            "granian",
            "workerlab.probe:app",
            "--interface=asgi",
            f"--port={self.port}",
            f"--workers={self.worker_count}",
            "--log-level=warning",
            *self.options,
        )
        let_go = (
            "import os, sys; os.close(int(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"
        )
        return [serve[0], "-c", let_go, str(fd), *serve]


class Server:
    """One column of the table."""

    def __init__(
        self, kind: type[ProcessCluster], title: str, *limits: str, workers: int = 2
    ) -> None:
        self.kind = kind
        self.title = title
        self.limits = limits
        self.workers = workers

    @property
    def alone(self) -> bool:
        """Whether no parent watches the worker."""
        return self.workers == 1


TWO_SECONDS = ("--timeout=2", "--graceful-timeout=2")
COLUMNS = {
    "uvicorn": Server(
        SERVERS["uvicorn"], "uvicorn `--workers`", "--timeout-worker-healthcheck=2"
    ),
    "gunicorn-asgi": Server(SERVERS["gunicorn-asgi"], "gunicorn `asgi`", *TWO_SECONDS),
    "gunicorn-uvicorn": Server(
        SERVERS["gunicorn-uvicorn"], "gunicorn + uvicorn-worker", *TWO_SECONDS
    ),
    "granian": Server(GranianCluster, "granian"),
    "alone": Server(SERVERS["uvicorn"], "uvicorn 1 つだけ", workers=1),
}


class Stage:
    """A running server with the app, and what the app noted."""

    def __init__(self, cluster: ProcessCluster, notes: Path, server: Server) -> None:
        self.cluster = cluster
        self.server = server
        self._notes = notes

    def notes(self) -> list[str]:
        """The words so far."""
        return self._notes.read_text("utf-8").split() if self._notes.exists() else []

    async def until(self, look: Callable[[], bool], limit: float = PATIENCE) -> bool:
        """Whether *look* became true within *limit* seconds."""
        deadline = time.monotonic() + limit
        while not look():
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    async def noted(self, *words: str) -> str:
        """The first of *words* to appear."""
        found = await self.until(lambda: bool({*words} & {*self.notes()}))
        assert found, (words, self.notes())
        return next(word for word in self.notes() if word in words)

    async def is_served(self) -> None:
        """Return when a request is answered: granian reports before it accepts."""
        deadline = time.monotonic() + PATIENCE
        while not (await self.cluster.request("GET", "/client", step="first")).ok:
            assert time.monotonic() < deadline, "nobody answers"

    async def send(self, method: str, path: str) -> asyncio.Task[object]:
        """A request on its way, which somebody else will end."""
        return asyncio.create_task(
            self.cluster.request(method, path, step="ask", timeout=2 * PATIENCE)
        )


@contextlib.asynccontextmanager
async def running(server: Server, options: Sequence[str] = ()) -> AsyncIterator[Stage]:
    """Start the server with the app; nothing is left when the block ends."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        notes = Path(folder, "notes.txt")
        cluster = server.kind(
            str(APP),
            workers=server.workers,
            options=options,
            environment={"NOTES": str(notes)},
            cwd=ROOT,
            startup_timeout=2 * PATIENCE,
        )
        async with cluster:
            stage = Stage(cluster, notes, server)
            await stage.is_served()
            yield stage


def is_gone(pid: int) -> bool:
    """Dead, or dead and not yet buried."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


# -- the questions -----------------------------------------------------------------------------


async def hung_loop(server: Server) -> str:
    """The event loop stands still: who ends the worker?"""
    async with running(server, server.limits) as stage:
        asking = await stage.send("GET", "/block/300")
        await stage.until(lambda: bool(stage.notes()))
        (pid,) = stage.notes()
        killed = await stage.until(lambda: is_gone(int(pid)), UNTOUCHED)
        asking.cancel()
    return f"親が強制終了する（{limit(server)}）" if killed else "だれも気づかない"


async def hung_process(server: Server) -> str:
    """The whole process stands still (SIGSTOP)."""
    async with running(server, server.limits) as stage:
        pid = (await stage.cluster.workers())[0]
        await stage.cluster.pause(pid)
        killed = await stage.until(lambda: is_gone(pid), UNTOUCHED)
    return f"親が強制終了する（{limit(server)}）" if killed else "だれも気づかない"


def limit(server: Server) -> str:
    """The default of the limit that was shortened for the measurement."""
    (option, *_) = server.limits
    name = option.split("=")[0]
    if "healthcheck" in name:
        defaults = {p.name: p.default for p in uvicorn_command.params}
        return f"既定 {defaults['timeout_worker_healthcheck']} 秒"
    return f"既定 {make_settings()['timeout'].default} 秒"


async def killed_worker(server: Server) -> str:
    """`kill -9` of one worker."""
    async with running(server) as stage:
        before = await stage.cluster.workers()
        await stage.cluster.kill(before[0])
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if stage.cluster._supervisor.poll() is not None:
                return "終わる。起動し直すのは外側" if server.alone else "全体が終わる"
            if len({*await stage.cluster.workers()} - {*before}) == 1:
                return "親が起動し直す"
            await asyncio.sleep(0.05)
    return "減ったまま"


async def failing_import(server: Server) -> str:
    """The app can't be imported."""
    return await asyncio.to_thread(failing, server, "raise RuntimeError('import')\n")


async def failing_lifespan(server: Server) -> str:
    """The lifespan raises."""
    return await asyncio.to_thread(
        failing,
        server,
        "from contextlib import asynccontextmanager\n"
        "from fastapi import FastAPI\n"
        "@asynccontextmanager\n"
        "async def lifespan(app):\n"
        "    raise RuntimeError('lifespan')\n"
        "    yield\n"
        "app = FastAPI(lifespan=lifespan)\n",
    )


NOTE_START = (
    "import os\n"
    "with open(os.environ['NOTES'], 'a') as notes:\n"
    "    notes.write(f'{os.getpid()}\\n')\n"
)


def failing(server: Server, code: str) -> str:
    """How a server ends whose app can't start; or how often it tries."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        app, notes = Path(folder, "fails.py"), Path(folder, "notes.txt")
        app.write_text(NOTE_START + code, "utf-8")
        notes.touch()
        cluster = server.kind(str(app), workers=server.workers)
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            cluster.port = listener.getsockname()[1]
            command = [
                "fails:app" if word == "workerlab.probe:app" else word
                for word in cluster.command(listener.fileno())
            ]  # nothing of ours stands between the server and the app
            process = subprocess.Popen(
                command,
                pass_fds=[listener.fileno()],
                cwd=folder,
                env={**os.environ, "NOTES": str(notes)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    return f"終了コード {process.returncode} で終わる"
                if len(notes.read_text("utf-8").split()) > 4 * server.workers:
                    return "起動し直しを繰り返す"
                time.sleep(0.05)
            return "起動しないまま、終わらない"
        finally:
            kill_group(process.pid)
            process.wait()


async def restart(server: Server) -> str:
    """SIGHUP while a request is on its way."""
    async with running(server) as stage:
        before = {*await stage.cluster.workers()}
        asking = await stage.send("GET", "/wait/2")
        await stage.noted("started")
        os.kill(stage.cluster.supervisor, signal.SIGHUP)
        done = await asking
        fate = (
            "処理中のリクエストは終わる"
            if getattr(done, "ok", False)
            else "処理中のリクエストは切れる"
        )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if stage.cluster._supervisor.poll() is not None:
                return f"終わる。{fate}"
            now = {*await stage.cluster.workers()}
            if len(now) == server.workers and not now & before:
                return f"全員を入れ替える。{fate}"
            await asyncio.sleep(0.05)
    return f"入れ替わらない。{fate}"


async def background_at_sigterm(stage: Stage) -> str:
    """SIGTERM while a BackgroundTasks function is at work; ends the server."""
    began = stage.notes().count("started")
    await stage.cluster.request("POST", "/later/3", step="ask")
    assert await stage.until(lambda: stage.notes().count("started") > began)
    done = stage.notes().count("finished")
    os.kill(stage.cluster.supervisor, signal.SIGTERM)
    assert await stage.until(lambda: stage.cluster._supervisor.poll() is not None)
    return "終わるのを待つ" if stage.notes().count("finished") > done else "途中で捨てる"


async def client_leaves(stage: Stage) -> str:
    """The client closes its connection: is the handler cancelled?"""
    _, writer = await asyncio.open_connection("127.0.0.1", stage.cluster.port)
    writer.write(b"GET /wait/6 HTTP/1.1\r\nHost: shop\r\n\r\n")
    await writer.drain()
    await stage.noted("started")
    writer.close()
    end = await stage.noted("cancelled", "finished")
    return "キャンセルされる" if end == "cancelled" else "最後まで動く"


async def websocket(stage: Stage) -> str:
    """Say something over a WebSocket, and hear it back."""
    url = f"http://127.0.0.1:{stage.cluster.port}/echo"
    async with aiohttp.ClientSession() as session:
        try:
            async with session.ws_connect(url) as ws:
                await ws.send_str("こんにちは")
                said = (await ws.receive(timeout=PATIENCE)).data
        except aiohttp.WSServerHandshakeError:
            return "使えない"
    return "使える" if said == "こんにちは" else "使えない"


async def forwarded_for(stage: Stage) -> str:
    """A proxy on this machine (127.0.0.1) names another client."""
    answer = await stage.cluster.request(
        "GET", "/client", step="ask", headers={"X-Forwarded-For": SENT_FOR}
    )
    return "書き換える" if answer.body["host"] == SENT_FOR else "そのまま"


GENTLE: dict[str, Callable[[Stage], Awaitable[str]]] = {
    "WebSocket": websocket,
    "去った利用者の処理": client_leaves,
    "`X-Forwarded-For`": forwarded_for,
    "`SIGTERM` と残った仕事": background_at_sigterm,
}
"""Questions that one server can be asked in turn; after the last it is gone."""
ROUGH: dict[str, Callable[[Server], Awaitable[str]]] = {
    "イベントループが止まる": hung_loop,
    "プロセスごと止まる": hung_process,
    "ワーカーへの `kill -9`": killed_worker,
    "import の失敗": failing_import,
    "lifespan の失敗": failing_lifespan,
    "`SIGHUP`": restart,
}
"""Questions that need a server of their own."""


async def gently(server: Server) -> dict[str, str]:
    """The answers to all gentle questions, from one run of the server."""
    async with running(server) as stage:
        return {row: await ask(stage) for row, ask in GENTLE.items()}


async def observe(server: Server) -> dict[str, str]:
    """A whole column."""
    rough = {row: await ask(server) for row, ask in ROUGH.items()}
    return {**rough, **await gently(server)}


def versions() -> dict[str, str]:
    """What was asked."""
    names = ("uvicorn", "gunicorn", "uvicorn-worker", "granian", "fastapi", "starlette")
    return {"Python": platform.python_version(), **{n: version(n) for n in names}}


def table(recorded: dict[str, object]) -> str:
    """The page's table and the line under it."""
    columns = recorded["columns"]
    assert isinstance(columns, dict)
    rows = next(iter(columns.values()))
    lines = [
        "| 起きること | " + " | ".join(COLUMNS[name].title for name in columns) + " |",
        "| --- |" + " --- |" * len(columns),
        *("| " + " | ".join([r, *(c[r] for c in columns.values())]) + " |" for r in rows),
    ]
    used = recorded["versions"]
    assert isinstance(used, dict)
    parts = "、".join(f"{name} {number}" for name, number in used.items())
    return "\n".join([*lines, "", f"{recorded['date']} に確かめました（{parts}）。", ""])


def save(columns: dict[str, dict[str, str]]) -> None:
    """Write the answers, in the order of COLUMNS, and the table."""
    recorded = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "versions": versions(),
        "columns": {name: columns[name] for name in COLUMNS if name in columns},
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps(recorded, ensure_ascii=False, indent=1) + "\n"
    (FOLDER / "conformance.json").write_text(text, encoding="utf-8")
    (FOLDER / "conformance.txt").write_text(table(recorded), encoding="utf-8")


def main(*names: str) -> None:
    """Ask the named servers, or all; keep the others' answers if the versions are the same."""
    columns = {}
    path = FOLDER / "conformance.json"
    if path.exists():
        before = json.loads(path.read_text("utf-8"))
        columns = before["columns"] if before["versions"] == versions() else {}
    for name in names or COLUMNS:
        columns[name] = asyncio.run(observe(COLUMNS[name]))
        print(name, json.dumps(columns[name], ensure_ascii=False, indent=1), flush=True)
        save(columns)


if __name__ == "__main__":
    main(*sys.argv[1:])
