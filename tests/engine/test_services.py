"""Services: empty at the start, awaited, stopped and started on purpose, gone at the end."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from workerlab import memcached, postgres
from workerlab.errors import ServiceError
from workerlab.service import Service
from workerlab.services import SERVICES, missing


def needs(name: str) -> pytest.MarkDecorator:
    reason = f"{name} がありません（make test-all が入れます）"
    return pytest.mark.skipif(bool(missing(frozenset({name}))), reason=reason)


def within(name: str, look: Callable[[Service], Awaitable[None]]) -> None:
    """Run *look* inside the service, then prove that its processes are gone."""
    before = {p.pid for p in psutil.Process().children(recursive=True)}

    async def block() -> None:
        async with SERVICES[name]() as service:
            assert service.is_up()
            await look(service)

    asyncio.run(block())
    left = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
    assert [p for p in left if p.status() != psutil.STATUS_ZOMBIE] == []


@needs("postgres")
def test_postgres_is_empty_counts_its_clients_and_keeps_data_over_a_restart() -> None:
    """Two open connections are two backends; a stop ends them, the rows stay."""

    async def look(service: Service) -> None:
        url = service.env["DATABASE_URL"]
        with psycopg.connect(url, autocommit=True) as one, psycopg.connect(url) as two:
            one.execute("CREATE TABLE t (x int)")
            one.execute("INSERT INTO t VALUES (42)")
            two.execute("SELECT 1")
            assert service.measure("backends") == 2
            # A measurement that has not ended yet does not count itself into the next one.
            with psycopg.connect(url, application_name="psql"):
                assert service.measure("backends") == 2
            assert service.measure("idle_in_transaction") == 1
            assert service.measure("waiting") == 0
            two.execute("LOCK TABLE t")
            waiter = await psycopg.AsyncConnection.connect(url)
            waiting = asyncio.create_task(waiter.execute("SELECT x FROM t"))
            while not await asyncio.to_thread(service.measure, "waiting"):
                assert not waiting.done()
            two.rollback()
            await waiting
            await waiter.close()
        service.stop()
        assert service.is_up(), "stopped on purpose is not a failure"
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        service.start()
        with psycopg.connect(url) as three:
            assert three.execute("SELECT x FROM t").fetchone() == (42,)

    within("postgres", look)


@needs("postgres")
def test_postgres_that_died_is_told() -> None:
    """A death that nobody asked for ends the run with its name."""

    async def look(service: Service) -> None:
        assert isinstance(service, postgres.PrivatePostgres)
        assert service._process is not None
        service._process.kill()
        with pytest.raises(ServiceError, match="PostgreSQL が実行中に終了"):
            await asyncio.wait_for(service.watch(), 30)

    within("postgres", look)


@needs("memcached")
def test_memcached_answers_and_a_restart_is_empty_on_the_same_port() -> None:
    """A cache is not a store, and clients need not learn a new address."""

    def ask(url: str, text: str) -> str:
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port), timeout=5) as client:
            client.sendall(text.encode())
            return client.recv(200).decode()

    async def look(service: Service) -> None:
        url = service.env["MEMCACHED_URL"]
        assert ask(url, "set k 0 0 1\r\n7\r\n") == "STORED\r\n"
        assert ask(url, "get k\r\n").startswith("VALUE k 0 1\r\n7")
        service.stop()
        service.start()
        assert service.env["MEMCACHED_URL"] == url
        assert ask(url, "get k\r\n") == "END\r\n"

    within("memcached", look)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("memcached", marks=needs("memcached")),
        pytest.param("postgres", marks=needs("postgres")),
    ],
)
def test_stop_is_never_seen_as_a_death(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop` runs in a thread: a watch may look when the process is already dead."""

    async def look(service: Service) -> None:
        assert isinstance(service, memcached.PrivateMemcached | postgres.PrivatePostgres)
        process = service._process
        assert process is not None
        seen: list[bool] = []
        wait = process.wait

        def wait_and_watch(timeout: float | None = None) -> int:
            code = wait(timeout)
            seen.append(service.is_up())
            return code

        monkeypatch.setattr(process, "wait", wait_and_watch)
        service.stop()
        assert seen == [True]

    within(name, look)


def test_folder_is_empty_and_removed() -> None:
    """What the workers wrote does not stay behind."""
    seen: list[Path] = []

    async def look(service: Service) -> None:
        folder = Path(service.env["DATA_DIR"])
        assert list(folder.iterdir()) == []
        (folder / "x").write_text("x")
        seen.append(folder)

    within("files", look)
    assert not seen[0].exists()


def test_missing_program_is_told_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither PostgreSQL nor Memcached: the line says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres, "find_binaries", lambda: None)

    async def enter(service: Callable[[], object]) -> None:
        async with service():  # type: ignore[attr-defined]
            pytest.fail("it started")

    with pytest.raises(ServiceError, match="apt install postgresql"):
        asyncio.run(enter(postgres.postgres))
    with pytest.raises(ServiceError, match="apt install memcached"):
        asyncio.run(enter(memcached.memcached))


def test_service_that_measures_nothing_says_so() -> None:
    """A wrong quantity is a bug of the experiment, not a zero."""

    async def look(service: Service) -> None:
        with pytest.raises(KeyError, match="does not measure 'backends'"):
            service.measure("backends")

    within("files", look)
