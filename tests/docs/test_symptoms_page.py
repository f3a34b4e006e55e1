"""The page 「症状から探す」: every message is what the software writes, every entry is proved.

`PROVED` binds each entry to tests of the topics that it leads to; the tests below provoke each
message and compare it with the page, numbers aside.
"""

import asyncio
import errno
import json
import logging
import os
import re
import socket
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import aiohttp
import asyncpg
import httpx2
import psycopg
import pytest
import redis
from fastapi import FastAPI
from sqlalchemy import create_engine, exc
from starlette.requests import Request
from uvicorn import Config

from helpers import file_of_tests, has_test, wait_until
from workerlab.catalog import ROOT
from workerlab.nginx import nginx
from workerlab.postgres import postgres
from workerlab.servers import SERVERS
from workerlab.services import missing
from workerlab.valkey import private_valkey

PAGE = ROOT / "docs" / "symptoms.md"

PROVED: dict[str, tuple[str, ...]] = {
    # 値が合わない
    "リクエストのたびに、値が増えたり減ったりする": (
        "in_memory_counter::test_bad_counts_per_worker",
    ),
    "値を Redis や Memcached に移したのに、数が足りない": (
        "memcached_counter::test_bad_loses_views_and_readers",
    ),
    "更新したのに、古い値が返ることがある": (
        "per_process_cache::test_bad_serves_the_old_price",
        "local_cache_staleness::test_bad_serves_the_old_price_for_ever",
    ),
    "在庫より多く売れる、残高が合わない": ("oversell::test_bad_sells_what_it_does_not_have",),
    "ロックで囲んだのに、同じ番号が 2 つできる": (
        "process_local_lock::test_bad_gives_a_number_twice",
    ),
    "Redis のロックを使ったのに、古い値で上書きされる": (
        "distributed_lock::test_bad_writes_the_old_quantity_over_the_new",
    ),
    "同じ部屋にいるのに、発言が届く人と届かない人がいる": (
        "websocket_broadcast::test_bad_reaches_the_worker_of_the_sender_only",
    ),
    "成功と答えた注文が、データベースにない": (
        "shared_db_connection::test_bad_mixes_transactions",
        "worker_crash::test_bad_loses_what_the_killed_worker_had_acknowledged",
    ),
    # 同じことが何度も起きる
    "定期実行のメールが、4 通ずつ届く": (
        "duplicate_scheduler::test_bad_sends_one_mail_per_worker",
    ),
    "起動時の処理やマイグレーションが、何度も実行される": (
        "lifespan_per_worker::test_bad_migrates_in_every_worker",
    ),
    "回数の制限が、設定の 4 倍まで通る": (
        "rate_limit_per_worker::test_bad_multiplies_the_limit",
    ),
    "同じ注文が、2 回請求される": (
        "retry_storm::test_bad_triples_the_calls_and_charges_twice",
    ),
    "キャッシュが切れるたびに、データベースの負荷が跳ね上がる": (
        "cache_stampede::test_bad_computes_for_everybody",
    ),
    # ログインが続かない
    "ログインしたのに、ときどきログイン画面に戻る": (
        "session_store::test_bad_knows_the_user_on_one_worker_only",
        "random_secret_key::test_bad_believes_its_own_worker_only",
    ),
    "デプロイのたびに、全員がログアウトする": ("random_secret_key::test_drill_can_fail",),
    "ログアウトしたのに、写し取った Cookie でまだ入れる": (
        "session_store::test_fake_is_caught",
    ),
    "セッションに入れた値が、黙って消える": (
        "middleware::test_chromium_drops_the_page_s_large_cookie",
    ),
    "SessionMiddleware must be installed to access request.session": (
        "fences::test_block_does_what_the_page_says",  # of the page that it links to
    ),
    "No module named 'itsdangerous'": (
        "middleware::test_itsdangerous_is_not_in_fastapi_standard",
    ),
    # データベースのエラー
    "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00": (
        "pool_exhaustion::test_bad_overruns_the_database",
        "dependencies::test_the_500_of_the_full_pool_is_a_timeout",
    ),
    "FATAL:  sorry, too many clients already": (
        "pool_exhaustion::test_messages_are_those_of_the_page",
    ),
    "cannot perform operation: another operation is in progress": (
        "shared_db_connection::test_fake_is_caught",
    ),
    "SQLite objects created in a thread can only be used in that same thread.": (
        "dependencies::test_sqlite_connection_of_a_dependency_needs_the_check_off",
    ),
    "database is locked": (
        "choose_a_store::test_sqlite_waits_five_seconds_for_a_writer_unless_told",
    ),
    "could not serialize access due to concurrent update": (
        "oversell::test_serializable_tries_again_and_again",
    ),
    "canceling statement due to lock timeout": ("oversell::test_drill_ends_as_stated",),
    "duplicate key value violates unique constraint": (
        "process_local_lock::test_unique_turns_duplicates_into_errors",
    ),
    "terminating connection due to administrator command": (
        "pool_exhaustion::test_without_pre_ping_the_drill_fails",
    ),
    # Redis（Valkey）と Memcached のエラー
    "Cannot release a lock that's no longer owned": (
        "distributed_lock::test_plain_delete_takes_away_the_lock_of_another",
        "cache_stampede::test_lock_is_a_token_with_an_expiry",
    ),
    "command not allowed when used memory > 'maxmemory'.": (
        "choose_a_store::test_valkey_refuses_when_full",
    ),
    "Connection refused": (
        "session_store::test_drill_can_fail",
        "rate_limit_per_worker::test_drill_ends_as_stated",
        "per_process_cache::test_drill_fails_without_the_fallback",
    ),
    "Redis のセッションが、期限の前に消える": (
        "session_store::test_full_redis_evicts_sessions",
    ),
    # 返事が来ない、ワーカーが死ぬ
    "重い処理の間、/healthz も答えない": (
        "blocked_event_loop::test_bad_lets_every_probe_wait",
    ),
    "外のサービスが黙ると、こちらのページも 500 になる": (
        "fallback::test_bad_fails_with_the_service_it_asks",
    ),
    "ワーカーを増やしても、1 つのワーカーにだけリクエストが集まる": (
        "who_answers::test_bad_reloads_the_same_worker_four_times",
    ),
    "WORKER TIMEOUT (pid:12345)": (
        "blocked_event_loop::test_gunicorn_kills_a_worker_whose_loop_is_blocked",
    ),
    "Child process [12345] died": (
        "worker_crash::test_bad_loses_what_the_killed_worker_had_acknowledged",
        "blocked_event_loop::test_uvicorn_kills_a_worker_that_keeps_the_gil",
    ),
    "Worker (pid:12345) was sent SIGKILL! Perhaps out of memory?": (
        "worker_crash::test_bad_loses_what_the_killed_worker_had_acknowledged",
    ),
    "Server disconnected without sending a response.": (
        "worker_crash::test_good_saves_before_it_answers",
    ),
    "A process in the process pool was terminated abruptly while the future was running"
    " or pending.": ("blocked_event_loop::test_pool_without_one_process_is_broken_for_good",),
    "upstream prematurely closed connection while reading response header from upstream": (
        "keepalive_race::test_bad_refuses_orders_that_no_worker_has_seen",
        "worker_crash::test_bad_loses_what_the_killed_worker_had_acknowledged",
    ),
    "recv() failed (104: Connection reset by peer) while reading response header from"
    " upstream": (
        "worker_crash::test_bad_loses_what_the_killed_worker_had_acknowledged",
        "keepalive_race::test_bad_refuses_orders_that_no_worker_has_seen",
    ),
    "connect() failed (111: Connection refused) while connecting to upstream": (
        "startup_failure::test_bad_takes_the_working_server_down",
    ),
    "202 を返した仕事が、終わらないまま消える": (
        "background_task_loss::test_bad_loses_what_the_killed_worker_had",
    ),
    "止める合図を送っても、サーバーがなかなか終わらない": (
        "graceful_shutdown::test_bad_never_ends_and_loses_who_comes_late",
    ),
    '"workers" flag is ignored when reloading is enabled.': (
        "differences::test_reload_ignores_workers",
    ),
    "Application startup failed. Exiting.": (
        "startup_failure::test_status_of_a_server_that_cannot_start",
    ),
    "デプロイは成功したのに、だれも答えない": (
        "startup_failure::test_bad_takes_the_working_server_down",
    ),
    "ワーカーを増やすと、メモリ不足で止められる": (
        "memory_per_worker::test_bad_keeps_one_model_for_each_worker",
    ),
    # ファイルとログ
    "ログの行が、世代交代のときに消える": ("log_rotation::test_bad_loses_lines_and_names",),
    "書いたはずの行が混ざり、読めない": (
        "file_append::test_bad_mixes_lines_and_loses_numbers",
    ),
    "Expecting value: line 1 column 1 (char 0)": (
        "file_replace::test_bad_is_unreadable_while_and_after",
    ),
    "Invalid cross-device link": ("file_replace::test_rename_does_not_cross_file_systems",),
    "No space left on device": ("file_append::test_line_after_a_torn_one_is_lost_too",),
    # 監視と開発
    "メトリクスのカウンターが、読むたびに下がる": (
        "metrics_flicker::test_bad_shows_another_counter_at_each_scrape",
    ),
    "手元では起きないのに、本番でだけ起きる": (
        "what_is_a_worker::test_number_of_workers_without_an_option",
        "differences::test_one_worker_hides_the_faults",
    ),
    "on_event is deprecated, use lifespan event handlers instead.": (
        "differences::test_on_event_warns",
    ),
    "The `uvicorn.workers` module is deprecated. Please use `uvicorn-worker` package"
    " instead.": ("differences::test_uvicorn_workers_is_deprecated_in_silence",),
    "No module named 'aioredis'": (
        "differences::test_start_fails_because_aioredis_is_not_imported",
    ),
}
"""Each entry of the page, and the tests behind the pages that it links to, in their order."""


# -- the page and its proofs -------------------------------------------------------------------


def entries() -> dict[str, str]:
    """The page's terms, code marks removed, with the text that explains them."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^(\S.*)\n:   ((?:.+\n)(?: {4}.+\n)*)", text, re.MULTILINE)
    return {re.sub(r"(`+)(.+?)\1", r"\2", term): body for term, body in found}


def messages() -> set[str]:
    """The terms that are code as a whole: text that a program writes."""
    terms = re.findall(r"^(`+)(.+)\1\n:   ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {text for _, text in terms}


def test_every_entry_is_bound_to_a_test() -> None:
    """No entry without a proof, no proof without an entry."""
    assert list(entries()) == list(PROVED)
    assert len(messages()) > 20


@pytest.mark.parametrize("proof", sorted({p for proofs in PROVED.values() for p in proofs}))
def test_proof_exists(proof: str) -> None:
    """The test that stands behind an entry is there."""
    topic, name = proof.split("::")
    assert has_test(file_of_tests(topic), name)


@pytest.mark.parametrize("term", PROVED)
def test_entry_leads_to_what_proves_it(term: str) -> None:
    """An entry links to the pages of the very topics whose tests are named, in their order."""
    linked = re.findall(r"\]\((?:[\w-]+/)*(\w+)\.md", entries()[term])
    topics = [proof.split("::")[0] for proof in PROVED[term]]
    assert topics in (linked, ["fences"])
    assert linked


# -- what the software writes ------------------------------------------------------------------

PROVOKED: set[str] = set()


def shape(text: str) -> str:
    """Numbers, which differ from run to run, become N."""
    return re.sub(r"\d+(?:\.\d+)?", "N", text)


def provokes(*texts: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The test makes the software write these messages."""
    PROVOKED.update(texts)
    return lambda test: test


def assert_written(text: str, output: object) -> None:
    assert text in messages()
    assert shape(text) in shape(str(output))


def test_every_message_is_provoked() -> None:
    """Whatever the page shows as a program's words, a test here has seen."""
    assert messages() == PROVOKED


@provokes(
    "could not serialize access due to concurrent update",
    "canceling statement due to lock timeout",
    "duplicate key value violates unique constraint",
    "terminating connection due to administrator command",
    "FATAL:  sorry, too many clients already",
    "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00",
    "cannot perform operation: another operation is in progress",
)
@pytest.mark.skipif(bool(missing(frozenset({"postgres"}))), reason="PostgreSQL がありません")
def test_words_of_the_database() -> None:
    """PostgreSQL, its clients and SQLAlchemy's pool, each brought to its error."""

    async def look() -> None:
        async with postgres() as server:
            await asyncio.to_thread(conflicts, server.env["DATABASE_URL"])
            await asyncio.to_thread(too_many, server.env["DATABASE_URL"])
            await two_at_once(server.env["DATABASE_URL"])

    asyncio.run(look())


def conflicts(url: str) -> None:
    dsn = url.replace("+psycopg", "")
    with psycopg.connect(dsn, autocommit=True) as setup:
        setup.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
        setup.execute("INSERT INTO t VALUES (1, 0)")
    with psycopg.connect(dsn) as first, psycopg.connect(dsn) as second:
        second.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        second.execute("SELECT n FROM t")
        first.execute("UPDATE t SET n = 1")
        first.commit()
        with pytest.raises(psycopg.errors.SerializationFailure) as late:
            second.execute("UPDATE t SET n = 2")
        assert_written("could not serialize access due to concurrent update", late.value)
        second.rollback()
        first.execute("UPDATE t SET n = 1")
        second.execute("SET lock_timeout = '10ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable) as waited:
            second.execute("UPDATE t SET n = 2")
        assert_written("canceling statement due to lock timeout", waited.value)
        second.rollback()
        with pytest.raises(psycopg.errors.UniqueViolation) as twice:
            first.execute("INSERT INTO t VALUES (1, 0)")
        assert_written("duplicate key value violates unique constraint", twice.value)
        first.rollback()
        second.execute("SELECT pg_terminate_backend(%s)", [first.info.backend_pid])
        with pytest.raises(psycopg.errors.AdminShutdown) as ended:
            first.execute("SELECT 1")
        assert_written("terminating connection due to administrator command", ended.value)


def too_many(url: str) -> None:
    engine = create_engine(url, pool_size=5, max_overflow=10, pool_timeout=0.1)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        for _ in range(15):
            stack.enter_context(engine.connect())
        with pytest.raises(exc.TimeoutError) as waited:
            engine.connect()
        assert_written(
            "QueuePool limit of size 5 overflow 10 reached, connection timed out,"
            " timeout 30.00",
            waited.value,
        )

        def connect_until_refused() -> None:
            while True:
                stack.enter_context(psycopg.connect(url.replace("+psycopg", "")))

        with pytest.raises(psycopg.OperationalError) as refused:
            connect_until_refused()
        assert_written("FATAL:  sorry, too many clients already", refused.value)


async def two_at_once(url: str) -> None:
    connection = await asyncpg.connect(url.replace("+psycopg", ""))
    first = asyncio.create_task(connection.fetch("SELECT pg_sleep(0.2)"))
    await asyncio.sleep(0)  # the first has begun
    with pytest.raises(asyncpg.InterfaceError) as second:
        await connection.fetch("SELECT 1")
    assert_written("cannot perform operation: another operation is in progress", second.value)
    await first
    await connection.close()


@provokes(
    "database is locked",
    "SQLite objects created in a thread can only be used in that same thread.",
)
def test_words_of_sqlite(tmp_path: Path) -> None:
    """A second writer, and a second thread."""
    first, second = (sqlite3.connect(tmp_path / "x.db", timeout=0) for _ in range(2))
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as locked:
        second.execute("BEGIN IMMEDIATE")
    assert_written("database is locked", locked.value)
    with (
        ThreadPoolExecutor(1) as other,
        pytest.raises(sqlite3.ProgrammingError) as foreign,
    ):
        other.submit(first.execute, "SELECT 1").result(30)
    assert_written(
        "SQLite objects created in a thread can only be used in that same thread.",
        foreign.value,
    )
    first.close()
    second.close()


@provokes(
    "Cannot release a lock that's no longer owned",
    "command not allowed when used memory > 'maxmemory'.",
    "Connection refused",
)
def test_words_of_redis() -> None:
    """A lock of somebody else, a full memory, a stopped server."""

    async def look() -> None:
        async with private_valkey() as server:
            await asyncio.to_thread(break_it, server.env["REDIS_URL"])
            await asyncio.to_thread(server.stop)
            with (
                redis.Redis.from_url(server.env["REDIS_URL"]) as client,
                pytest.raises(redis.ConnectionError) as refused,
            ):
                client.ping()
            assert_written("Connection refused", refused.value)
            await asyncio.to_thread(server.start)

    def break_it(url: str) -> None:
        with redis.Redis.from_url(url) as client:
            lock = client.lock("lock", timeout=60)
            assert lock.acquire(blocking=False)
            client.set("lock", "somebody else")
            with pytest.raises(redis.exceptions.LockNotOwnedError) as lost:
                lock.release()
            assert_written("Cannot release a lock that's no longer owned", lost.value)
            client.config_set("maxmemory", 1)
            with pytest.raises(redis.OutOfMemoryError) as full:
                client.set("key", 1)
            assert_written("command not allowed when used memory > 'maxmemory'.", full.value)
            client.config_set("maxmemory", 0)

    asyncio.run(look())


@provokes(
    "upstream prematurely closed connection while reading response header from upstream",
    "recv() failed (104: Connection reset by peer) while reading response header from upstream",
    "connect() failed (111: Connection refused) while connecting to upstream",
)
@pytest.mark.skipif(bool(missing(frozenset({"nginx"}))), reason="nginx がありません")
def test_words_of_nginx() -> None:
    """The other side closes after the request, resets, and does not listen at all."""

    def answer(listener: socket.socket, linger: bytes | None) -> None:
        client, _ = listener.accept()
        client.recv(4096)
        if linger is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.close()

    async def look() -> None:
        async with nginx() as proxy, aiohttp.ClientSession() as session:
            with ThreadPoolExecutor(1) as other:
                with socket.create_server(("127.0.0.1", 0)) as listener:
                    behind = listener.getsockname()[1]
                    port = await asyncio.to_thread(proxy.put_in_front, behind, FORWARD)
                    for linger in (None, struct.pack("ii", 1, 0)):  # an end, then a reset
                        other.submit(answer, listener, linger)
                        async with session.post(f"http://127.0.0.1:{port}/") as refused:
                            assert refused.status == 502
                async with session.post(f"http://127.0.0.1:{port}/") as refused:
                    assert refused.status == 502
            first, second, third = proxy.log()
            assert_written(
                "upstream prematurely closed connection while reading response header"
                " from upstream",
                first,
            )
            assert_written(
                "recv() failed (104: Connection reset by peer) while reading response"
                " header from upstream",
                second,
            )
            assert_written(
                "connect() failed (111: Connection refused) while connecting to upstream",
                third,
            )

    asyncio.run(look())


FORWARD = "server { listen 127.0.0.1:8080; location / { proxy_pass http://127.0.0.1:8000; } }"


@provokes("SessionMiddleware must be installed to access request.session")
def test_words_of_a_missing_session() -> None:
    """Without the middleware there is no session to read."""
    with pytest.raises(AssertionError) as error:
        Request({"type": "http"}).session  # noqa: B018
    text = "SessionMiddleware must be installed to access request.session"
    assert_written(text, error.value)


@provokes("No module named 'itsdangerous'", "No module named 'aioredis'")
def test_words_of_a_missing_package() -> None:
    """A Python without any installed package: the import fails at once."""
    for name in ("itsdangerous", "aioredis"):
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", f"import {name}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert_written(f"No module named '{name}'", done.stderr)


SLEEPY = """
import time

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def block_the_loop() -> None:
    time.sleep(60)
"""


@pytest.fixture
def sleepy(tmp_path: Path) -> str:
    app = tmp_path / "sleepy.py"
    app.write_text(SLEEPY, encoding="utf-8")
    return str(app)


async def log_after(server: str, app: str, options: tuple[str, ...], text: str) -> str:
    """The server's log, once it has the message: after a request, or a worker's death."""
    async with SERVERS[server](app, workers=2, options=options) as cluster:
        if "TIMEOUT" in text:
            await cluster.request("GET", "/", step="block", timeout=60)
        else:
            await cluster.kill((await cluster.workers())[0])

        def look() -> str:
            log = cluster._log.read_text(encoding="utf-8")
            return log if shape(text) in shape(log) else ""

        return await asyncio.to_thread(wait_until, look, text)


@provokes(
    "Child process [12345] died",
    "Worker (pid:12345) was sent SIGKILL! Perhaps out of memory?",
    "WORKER TIMEOUT (pid:12345)",
)
@pytest.mark.parametrize(
    ("server", "options", "text"),
    [
        ("uvicorn", ("--log-level=info",), "Child process [12345] died"),
        (
            "gunicorn-asgi",
            (),
            "Worker (pid:12345) was sent SIGKILL! Perhaps out of memory?",
        ),
        ("gunicorn-asgi", ("--timeout=1",), "WORKER TIMEOUT (pid:12345)"),
    ],
)
def test_words_of_the_parent(
    server: str, options: tuple[str, ...], text: str, sleepy: str
) -> None:
    """What uvicorn and gunicorn write when a worker is killed, or stands still."""
    assert_written(text, asyncio.run(log_after(server, sleepy, options, text)))


@pytest.fixture
def closing_server() -> Iterator[str]:
    """An address where every connection ends without an answer."""

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            with listener.accept()[0] as connection:
                connection.recv(1000)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as other:
        served = other.submit(serve, listener)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        served.result(30)


@provokes("Server disconnected without sending a response.")
def test_words_of_a_client_whose_worker_died(closing_server: str) -> None:
    """httpx and aiohttp; the latter's words are in the entry's text."""
    with pytest.raises(httpx2.RemoteProtocolError) as error:
        httpx2.get(closing_server, timeout=30)
    assert_written("Server disconnected without sending a response.", error.value)

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            await session.post(closing_server)

    with pytest.raises(aiohttp.ServerDisconnectedError) as other:
        asyncio.run(ask())
    assert str(other.value) == "Server disconnected"


ABRUPT = (
    "A process in the process pool was terminated abruptly while the future was running"
    " or pending."
)


@provokes(ABRUPT)
def test_words_of_a_broken_process_pool() -> None:
    """The process ends in the middle of its work."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(BrokenProcessPool) as error:
            pool.submit(os._exit, 1).result(60)
        assert_written(ABRUPT, error.value)


@provokes(
    '"workers" flag is ignored when reloading is enabled.',
    "Application startup failed. Exiting.",
)
def test_words_of_uvicorn_at_the_start(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Options that exclude each other, and a lifespan that raises."""
    with caplog.at_level(logging.WARNING, "uvicorn.error"):
        Config("main:app", reload=True, workers=2, log_config=None)
    assert_written('"workers" flag is ignored when reloading is enabled.', caplog.text)
    raises = ROOT / "tests" / "engine" / "apps"
    command = [sys.executable, "-m", "uvicorn", "lifespan_raises:app", "--port=0"]
    done = subprocess.run(
        command, cwd=raises, capture_output=True, text=True, timeout=120, check=False
    )
    assert_written("Application startup failed. Exiting.", done.stderr)


@provokes(
    "Expecting value: line 1 column 1 (char 0)",
    "Invalid cross-device link",
    "No space left on device",
)
def test_words_of_files() -> None:
    """A file that was just emptied; the two others are the system's words for an error."""
    with pytest.raises(json.JSONDecodeError) as error:
        json.loads("")
    assert_written("Expecting value: line 1 column 1 (char 0)", error.value)
    assert_written("Invalid cross-device link", os.strerror(errno.EXDEV))
    assert_written("No space left on device", os.strerror(errno.ENOSPC))


@provokes(
    "on_event is deprecated, use lifespan event handlers instead.",
    "The `uvicorn.workers` module is deprecated. Please use `uvicorn-worker` package instead.",
)
def test_words_of_what_is_deprecated() -> None:
    """Both are hidden unless warnings are shown."""
    text = "on_event is deprecated, use lifespan event handlers instead."
    with pytest.warns(DeprecationWarning, match=text) as caught:
        FastAPI().on_event("startup")
    assert_written(text, caught[0].message)
    done = subprocess.run(
        [sys.executable, "-Wdefault", "-c", "import uvicorn.workers"],
        capture_output=True,
        text=True,
        check=True,
    )
    text = (
        "The `uvicorn.workers` module is deprecated."
        " Please use `uvicorn-worker` package instead."
    )
    assert_written(text, done.stderr)
