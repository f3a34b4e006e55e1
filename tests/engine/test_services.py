"""Services: empty at the start, awaited, stopped and started on purpose, gone at the end."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from workerlab import memcached, nginx, postgres
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


PROXY = """
    upstream workers { server 127.0.0.1:8000; keepalive 4; }
    server {
        listen 127.0.0.1:8080;
        location / {
            proxy_pass http://workers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    }
"""


@needs("nginx")
def test_nginx_stands_in_front_counts_its_connections_and_pauses() -> None:
    """It serves what the port behind it serves, keeps the connection, and logs failures."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        writer.close()

    async def ask(port: int) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
        return answer

    async def look(service: Service) -> None:
        assert isinstance(service, nginx.PrivateNginx)
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as behind:
            port = behind.sockets[0].getsockname()[1]
            public = await asyncio.to_thread(service.put_in_front, port, PROXY)
            assert (await ask(public)).endswith("\r\n\r\nhi")
            assert service.measure("kept") == 1
            assert service.measure("closing") == 0
            service.pause()
            asked = asyncio.create_task(ask(public))
            while psutil.Process(service.pid).status() != psutil.STATUS_STOPPED:
                await asyncio.sleep(0.01)
            assert not asked.done()
            service.resume()
            assert (await asked).endswith("\r\n\r\nhi")
            assert service.log() == []
            await asyncio.to_thread(service.stop)
            await asyncio.to_thread(service.start)
            assert service.port == public
        behind.close_clients()
        assert " 502 " in await ask(public)
        assert "connect() failed (111: Connection refused)" in service.log()[-1]

    within("nginx", look)


@needs("nginx")
def test_nginx_that_refuses_its_configuration_is_told() -> None:
    """The message ends with what nginx says about it."""

    async def look(service: Service) -> None:
        with pytest.raises(ServiceError, match='unknown directive "keep_alive"'):
            service.put_in_front(1, "keep_alive 5;")

    within("nginx", look)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("memcached", marks=needs("memcached")),
        pytest.param("nginx", marks=needs("nginx")),
        pytest.param("postgres", marks=needs("postgres")),
    ],
)
def test_stop_is_never_seen_as_a_death(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop` runs in a thread: a watch may look when the process is already dead."""

    async def look(service: Service) -> None:
        assert isinstance(
            service,
            memcached.PrivateMemcached | nginx.PrivateNginx | postgres.PrivatePostgres,
        )
        if isinstance(service, nginx.PrivateNginx):
            service.put_in_front(1, PROXY)
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
    """No PostgreSQL, Memcached or nginx: the line says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nginx, "SYSTEM_FOLDERS", ())
    monkeypatch.setattr(postgres, "find_binaries", lambda: None)

    async def enter(service: Callable[[], object]) -> None:
        async with service():  # type: ignore[attr-defined]
            pytest.fail("it started")

    with pytest.raises(ServiceError, match="apt install postgresql"):
        asyncio.run(enter(postgres.postgres))
    with pytest.raises(ServiceError, match="apt install memcached"):
        asyncio.run(enter(memcached.memcached))
    with pytest.raises(ServiceError, match="apt install nginx"):
        asyncio.run(enter(nginx.nginx))


def test_service_that_measures_nothing_says_so() -> None:
    """A wrong quantity is a bug of the experiment, not a zero."""

    async def look(service: Service) -> None:
        with pytest.raises(KeyError, match="does not measure 'backends'"):
            service.measure("backends")
        with pytest.raises(NotImplementedError, match="no proxy"):
            service.put_in_front(1, "")
        for call in (service.pause, service.resume, service.log):
            with pytest.raises(NotImplementedError, match=service.title):
                call()

    within("files", look)
