"""The README that this site grew from, run literally: what 「README との違い」 says of it."""

import ast
import asyncio
import base64
import fcntl
import json
import logging
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import itsdangerous
import psutil
import pytest
import yaml
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from packaging.specifiers import SpecifierSet
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.pool import StaticPool
from uvicorn import Config

import fences
from helpers import has_test, named_tests, wait_until
from workerlab import catalog, stage
from workerlab.catalog import ROOT
from workerlab.cluster import burst
from workerlab.servers import SERVERS

PAGE = ROOT / "docs" / "differences.md"
ORIGINAL = Path(__file__).with_name("original_readme.txt")
TEXT = ORIGINAL.read_text(encoding="utf-8")
servers = pytest.mark.parametrize("server", list(SERVERS))

PLACES = {
    "Open API ドキュメント": "openapi",
    "関連ファイル紹介": "requirements",
    "requirements.txt": "requirements",
    "利用方法": "install",
    "docker-compose.yaml": "compose",
    "開発環境 (docker-compose.dev.yml):": "development",
    "ステージング環境 (docker-compose.stg.yml):": "staging",
    "本番環境 (docker-compose.prod.yml):": "production",
    "複数ワーカーについて": "worker",
    "ワーカーとは": "worker",
    "環境ごとのワーカー設定": "compose",
    "開発環境": "development",
    "ステージング環境": "staging",
    "本番環境": "production",
    "ワーカー数の決め方": "formula",
    "メリット": "merits",
    "並行処理": "concurrency",
    "可用性": "availability",
    "リソース活用": "cpu",
    "注意点": "cautions",
    "メモリ使用量": "memory",
    "共有リソース": "shared-resources",
    "デバッグ": "debugging",
    "共有リソースの注意点": "shared",
    "主な注意点": "shared",
    "データベース接続": "database",
    "キャッシュ": "cache",
    "セッション管理": "session",
    "ファイル操作": "file",
    "メモリキャッシュ": "memory-cache",
    "解決策": "solutions",
    "外部サービスの利用": "stores",
    "適切なミドルウェア": "middleware",
    "依存性注入": "injection",
    "非同期処理": "background",
    "ベストプラクティス": "best-practices",
    "ステートレス設計": "stateless",
    "適切なロック機構": "locks",
    "モニタリング": "monitoring",
    "エラーハンドリング": "errors",
}
"""Every title of the original, and the id on the page where it is judged."""


# -- the page itself ------------------------------------------------------------------------


def titles(text: str) -> list[str]:
    """Headings and bold leads of the original, without numbers and marks, outside code."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^(?:#+ (.+)|(?:\d\. )?\*\*(.+?)\*\*.*)$", text, re.MULTILINE)
    return [heading.strip() or bold for heading, bold in found]


def test_every_part_of_the_original_has_its_place() -> None:
    """No title of the original is left out, and every place exists on the page."""
    assert set(titles(TEXT)) == set(PLACES)
    ids = set(re.findall(r"\{ #([\w-]+)", PAGE.read_text(encoding="utf-8")))
    assert set(PLACES.values()) <= ids


@pytest.mark.parametrize(("file", "name"), sorted(set(named_tests(PAGE))))
def test_named_test_exists(file: str, name: str) -> None:
    """The page names a test that is there."""
    assert has_test(file, name)


def test_every_test_of_the_original_is_named() -> None:
    """And what is proven below is told on the page."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    ours = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    about_the_page = {
        *("test_every_part_of_the_original_has_its_place", "test_named_test_exists"),
        "test_every_test_of_the_original_is_named",
    }
    named = {name for file, name in named_tests(PAGE) if file == "docs/test_differences.py"}
    assert named == {name for name in ours if name.startswith("test_")} - about_the_page


# -- the blocks, literally --------------------------------------------------------------------

BLOCKS = {
    "formula": (SyntaxError, "invalid character '×'"),
    "database": (NameError, "create_connection"),
    "cache": (NameError, "app"),
    "session": (ModuleNotFoundError, "fastapi_session"),
    "file": None,
    "memory-cache": (ModuleNotFoundError, r"fastapi_cache\.backends\.memory"),
    "middleware": None,
    "injection": (NameError, "app"),
    "background": (NameError, "app"),
}
"""The original's Python blocks in their order, and what each one raises alone."""


def block(name: str) -> str:
    bodies = [fence.body for fence in fences.find(ORIGINAL) if fence.language == "python"]
    return dict(zip(BLOCKS, bodies, strict=True))[name]


@pytest.mark.parametrize("name", BLOCKS)
def test_literal_block(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nine Python blocks two run as they stand; seven raise."""
    monkeypatch.chdir(tmp_path)
    if (error := BLOCKS[name]) is None:
        exec(compile(block(name), name, "exec"), {})
    else:
        with pytest.raises(error[0], match=error[1]):
            exec(compile(block(name), name, "exec"), {})


def run_block(name: str, **names: Any) -> dict[str, Any]:
    """The block with what it forgot to define."""
    exec(compile(block(name), name, "exec"), names)
    return names


def test_on_event_warns() -> None:
    """It still works in FastAPI 0.165, and says that it is deprecated."""
    with pytest.warns(DeprecationWarning, match="on_event is deprecated"):
        run_block("cache", app=FastAPI())


def test_start_fails_because_aioredis_is_not_imported() -> None:
    """With app defined, the cache block fails at start-up."""
    app = FastAPI()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        run_block("cache", app=app)
    with pytest.raises(NameError, match="aioredis"), TestClient(app):
        pass


def test_flock_is_released_before_the_data_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recommended block: when LOCK_UN returns, "data" is not in the file yet."""
    sizes: list[int] = []
    flock = fcntl.flock

    def watched(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        sizes.append(Path("file.txt").stat().st_size)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fcntl, "flock", watched)
    run_block("file")
    bad = len("data")  # the block begins with the one without lock
    assert sizes == [bad, bad]
    assert Path("file.txt").stat().st_size == 2 * bad


def session_app() -> FastAPI:
    app: FastAPI = run_block("middleware")["app"]

    @app.get("/login")
    async def login(request: Request) -> None:
        request.session["user"] = "alice"

    @app.get("/me")
    async def me(request: Request) -> dict[str, str]:
        return dict(request.session)

    return app


def test_session_cookie_can_be_read_and_forged() -> None:
    """Signed, not encrypted; and the key of the README is known to everybody."""
    with TestClient(session_app()) as client:
        client.get("/login")
        cookie = client.cookies["session"]
        assert json.loads(base64.b64decode(cookie.split(".")[0])) == {"user": "alice"}
        signer = itsdangerous.TimestampSigner("your-secret-key")
        forged = signer.sign(base64.b64encode(b'{"user": "admin"}')).decode()
        headers = {"cookie": f"session={forged}"}
        client.cookies.clear()
        assert client.get("/me", headers=headers).json() == {"user": "admin"}


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    secret: Mapped[str]


def engine() -> Engine:
    made = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    Base.metadata.create_all(made)
    return made


def test_items_show_every_column() -> None:
    """The injection block works once completed, and answers with all columns."""
    database = engine()
    with Session(database) as session, session.begin():
        session.add(Item(id=1, secret="s3cret"))
    app = FastAPI()
    run_block("injection", app=app, SessionLocal=sessionmaker(database), Item=Item)
    with TestClient(app) as client:
        assert client.get("/items/").json() == [{"id": 1, "secret": "s3cret"}]
    database.dispose()


def test_background_block_answers_first() -> None:
    """With app and process_item defined it runs; the task begins after the answer."""
    done: list[str] = []
    app = FastAPI()
    run_block("background", app=app, process_item=lambda: done.append("task"))
    with TestClient(app) as client:
        assert client.post("/items/").json() == {"message": "Processing started"}
    assert done == ["task"]


# -- OpenAPI, requirements, compose -----------------------------------------------------------


def test_docs_answer_and_load_from_another_host() -> None:
    """/docs and /openapi.json exist; the former needs cdn.jsdelivr.net to show anything."""
    with TestClient(FastAPI()) as client:
        page = client.get("/docs")
        schema = client.get("/openapi.json")
    assert (page.status_code, schema.status_code) == (200, 200)
    assert "https://cdn.jsdelivr.net/" in page.text
    assert "Swagger UI" in page.text
    assert schema.json()["openapi"].startswith("3.1")


def test_published_ports_are_not_8000() -> None:
    """The table says 8000; the three environments publish 8020, 8030 and 8040."""
    assert re.findall(r"^- ポート: (\d+)$", TEXT, re.MULTILINE) == ["8020", "8030", "8040"]
    assert set(re.findall(r"http://localhost:(\d+)", TEXT)) == {"8000"}


@pytest.mark.parametrize(
    ("specifier", "accepts"),
    [
        ("==0.109.2", ["0.109.2"]),
        (">=0.109.2", ["0.109.2", "0.109.3", "0.110.0", "0.165.0", "1.0.0"]),
        ("~=0.109.2", ["0.109.2", "0.109.3"]),
        ("~=0.109", ["0.109.2", "0.109.3", "0.110.0", "0.165.0"]),
    ],
)
def test_what_each_specifier_accepts(specifier: str, accepts: list[str]) -> None:
    """``~=`` lets the last part that is written grow, nothing before it."""
    versions = ("0.108.0", "0.109.2", "0.109.3", "0.110.0", "0.165.0", "1.0.0")
    assert [version for version in versions if version in SpecifierSet(specifier)] == accepts


@pytest.mark.parametrize("line", ["COPY requirements.txt .", "RUN pip --version"])
def test_dockerfile_lines_are_not_bash(line: str) -> None:
    """The bash block holds two lines of a Dockerfile: bash does not know them."""
    assert line.split()[0] in TEXT
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=False)
    assert done.returncode == 127


def test_reload_ignores_workers(caplog: pytest.LogCaptureFixture) -> None:
    """--reload is for one worker; uvicorn says so when asked for two."""
    with caplog.at_level(logging.WARNING, "uvicorn.error"):
        Config("main:app", reload=True, workers=2, log_config=None)
    assert '"workers" flag is ignored when reloading is enabled.' in caplog.text


def test_staging_and_production_run_different_servers() -> None:
    """What staging tests is not what production runs."""
    blocks = [f.body for f in fences.find(ORIGINAL) if f.language == "yaml"]
    commands = [yaml.safe_load(body)["command"].split()[0] for body in blocks]
    assert commands == ["uvicorn", "uvicorn", "gunicorn"]


LOAD = "from gunicorn.util import load_class; load_class('{}')"


def load_worker(name: str, *options: str) -> str:
    """What loading a worker class, as gunicorn does it, prints on stderr."""
    return subprocess.run(
        [sys.executable, *options, "-c", LOAD.format(name)],
        capture_output=True,
        text=True,
        check=True,
    ).stderr


def test_uvicorn_workers_is_deprecated_in_silence() -> None:
    """It works; the warning shows with -W default only. uvicorn_worker gives none."""
    old = "uvicorn.workers.UvicornWorker"
    assert load_worker(old) == ""
    assert "Please use `uvicorn-worker` package instead" in load_worker(old, "-Wdefault")
    assert "uvicorn.workers" not in load_worker("uvicorn_worker.UvicornWorker", "-Wdefault")


# -- workers ----------------------------------------------------------------------------------

COUNTER = "examples.in_memory_counter.bad:app"


@servers
def test_workers_take_connections_without_the_parent(server: str) -> None:
    """Nobody hands out requests: with the parent stopped (SIGSTOP), all are answered."""

    async def ask() -> list[bool]:
        async with SERVERS[server](COUNTER, workers=2, cwd=ROOT) as cluster:
            os.kill(cluster.supervisor, signal.SIGSTOP)
            try:
                answers = await burst(cluster, 20, "POST", "/visits", step="visit")
            finally:
                os.kill(cluster.supervisor, signal.SIGCONT)
            return [answer.ok for answer in answers]

    assert asyncio.run(ask()) == [True] * 20


@servers
def test_others_answer_and_the_dead_worker_is_replaced(server: str) -> None:
    """kill -9 on one of two: the other answers, and the parent starts a new one."""

    async def ask() -> list[bool]:
        async with SERVERS[server](COUNTER, workers=2, cwd=ROOT) as cluster:
            victim, _ = await cluster.workers()
            await cluster.kill(victim)
            await asyncio.to_thread(wait_until, lambda: gone(victim), "the worker's end")
            answers = await burst(cluster, 20, "POST", "/visits", step="visit")
            async with asyncio.timeout(60):
                while len(await cluster.workers()) < 2:
                    await asyncio.sleep(0.02)
            return [answer.ok for answer in answers]

    assert asyncio.run(ask()) == [True] * 20


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@servers
def test_every_worker_has_memory_of_its_own(server: str) -> None:
    """More workers, more memory: each has megabytes that it shares with nobody."""

    async def sizes() -> list[int]:
        async with SERVERS[server](COUNTER, workers=3, cwd=ROOT) as cluster:
            await burst(cluster, 20, "POST", "/visits", step="visit")
            pids = await cluster.workers()
            return [psutil.Process(pid).memory_full_info().uss for pid in pids]

    assert min(asyncio.run(sizes())) > 2 * 2**20


def test_one_worker_hides_the_faults() -> None:
    """With a single worker the counter in memory is right: nothing to debug there."""
    topic = catalog.find("in_memory_counter")
    result = asyncio.run(stage.play(topic.experiment, topic.app("bad"), workers=1))
    assert result.holds
    assert not result.conclusive
