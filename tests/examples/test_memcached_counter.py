"""memcached_counter: get-then-set loses counts, incr and CAS do not; Memcached forgets."""

import asyncio
import contextlib
import dataclasses
import inspect
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from pymemcache import Client, PooledClient
from pymemcache.exceptions import MemcacheUnexpectedCloseError

from contract import ANY, FOUR, broken, drills, fakes, play, skip_if_missing
from workerlab import catalog, services, stage
from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Result
from workerlab.memcached import memcached
from workerlab.service import Service

SLUG = "memcached_counter"
four = pytest.mark.parametrize(("server", "workers"), FOUR)
COUNTS = {"last_read", "different_numbers"}
READERS = {"readers"}


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@four
def test_bad_loses_views_and_readers(server: str, workers: int) -> None:
    """Between get and set another worker reads the same value; nothing is refused."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == COUNTS | READERS
    assert observed(result, "last_read") < 150  # less than half, as the heading says


@four
def test_good_counts_all(server: str, workers: int) -> None:
    """With incr and CAS every view and every reader is there."""
    assert broken(play(SLUG, "good", server, workers)) == set()


def test_bad_loses_counts_with_one_worker_too() -> None:
    """Threads of one process are enough to lose updates, as the page says."""
    result = asyncio.run(_play_alone())
    assert not result.conclusive, "one worker proves nothing about the fix"
    assert broken(result) == COUNTS | READERS


async def _play_alone() -> Result:
    skip_if_missing(SLUG)
    topic = catalog.find(SLUG)
    return await stage.play(topic.experiment, topic.app("bad"), workers=1)


BREAKS = {
    "cas_once": COUNTS | READERS,
    "lock_without_reply": COUNTS | READERS,
    "set_on_miss": COUNTS,
    "threading_lock": COUNTS | READERS,
}


@four
@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """A fix that only looks like one loses counts."""
    result = play(SLUG, fake, server, workers)
    assert broken(result) == BREAKS[fake]
    if fake == "set_on_miss":  # it loses only those that came before the last set
        assert observed(result, "last_read") >= 200
        assert sum(e.value == 1 for e in result.trace.step("view")) >= 2


def test_lock_works_once_its_answer_is_awaited() -> None:
    """The fake fails for the stated reason: with replies its lock excludes others."""
    skip_if_missing(SLUG)
    source = (catalog.find(SLUG).folder / "fakes" / "lock_without_reply.py").read_text("utf-8")
    mended = source.replace(
        "timeout=3,\n    )", "timeout=3,\n        default_noreply=False,\n    )"
    )
    assert mended != source
    assert broken(_play_source(mended)) == set()


def test_threading_lock_works_in_one_process() -> None:
    """The fake fails for the stated reason: one worker, and nothing is lost."""
    skip_if_missing(SLUG)
    topic = catalog.find(SLUG)
    (fake,) = (f for f in topic.fakes if f.name == "threading_lock")
    assert broken(asyncio.run(stage.play(topic.experiment, str(fake.path), workers=1))) == set()


def _play_source(source: str) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "app.py")
        app.write_text(source, encoding="utf-8")
        return asyncio.run(stage.play(catalog.find(SLUG).experiment, str(app)))


@pytest.mark.parametrize("server", sorted({server for server, _ in FOUR}))
@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """Memcached forgets the count, when it is full and when it restarts."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


@pytest.mark.parametrize(
    ("drill", "breaks"),
    [("evicted", {"last_read", "different_numbers"}), ("memcached_restart", {"survived"})],
)
def test_bad_breaks_the_drill(drill: str, breaks: set[str]) -> None:
    """The drills can fail: bad.py loses counts on the way."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "bad", ANY, 4, experiment)) == breaks


def _drill_with(fill: Callable[[Cluster], object]) -> Experiment:
    """The drill 「いっぱいになる」 with other traffic between the two hundreds."""
    drill = catalog.find(SLUG).drill("evicted")

    async def traffic(cluster: Cluster) -> None:
        await burst(cluster, 100, "POST", "/views", step="view", value="views")
        await fill(cluster)  # type: ignore[misc]
        await burst(cluster, 100, "POST", "/views", step="view", value="views")
        await cluster.request("GET", "/views", step="read", value="views")

    return dataclasses.replace(drill, traffic=traffic)


async def _half(cluster: Cluster) -> None:
    for batch in range(30):
        await cluster.request("POST", f"/titles/{batch}", step="fill")


async def _read_meanwhile(cluster: Cluster) -> None:
    for batch in range(60):
        await cluster.request("POST", f"/titles/{batch}", step="fill")
        await cluster.request("GET", "/views", step="look")


@pytest.mark.parametrize("fill", [_half, _read_meanwhile])
def test_count_stays_while_there_is_room_or_it_is_read(
    fill: Callable[[Cluster], object],
) -> None:
    """What is evicted is what nobody asked for longest: here the drill's claim fails."""
    result = play(SLUG, "good", ANY, 4, _drill_with(fill))
    assert observed(result, "last_read") == 200
    assert observed(result, "different_numbers") == 200


def test_skips_where_memcached_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names what is missing and how to get it."""
    monkeypatch.setattr(services.shutil, "which", lambda program, **_: None)
    with pytest.raises(pytest.skip.Exception, match=r"memcached がありません（make test-all"):
        skip_if_missing(SLUG)


# -- what the page says about Memcached and pymemcache -------------------------------------


def within(look: Callable[[Service, str], None]) -> None:
    """Run *look* beside a Memcached, with its address."""
    skip_if_missing(SLUG)

    async def block() -> None:
        async with memcached() as service:
            address = service.env["MEMCACHED_URL"].removeprefix("memcached://")
            await asyncio.to_thread(look, service, address)

    asyncio.run(block())


@contextlib.contextmanager
def client(address: str, **options: object) -> Iterator[PooledClient]:
    """A client that is closed afterwards."""
    pool = PooledClient(address, connect_timeout=5, timeout=5, **options)
    try:
        yield pool
    finally:
        pool.close()


def test_incr_makes_no_key_and_add_lets_one_win() -> None:
    """Why good.py needs add, and why set would not do."""

    def look(service: Service, address: str) -> None:
        with client(address, default_noreply=False) as cache:
            assert cache.incr("views", 1) is None
            assert [cache.add("views", 10), cache.add("views", 20)] == [True, False]
            assert cache.incr("views", 1) == 11

    within(look)


def test_cas_writes_only_what_did_not_change() -> None:
    """True, False for somebody else's change, None for a key that is gone."""

    def look(service: Service, address: str) -> None:
        with client(address, default_noreply=False) as cache:
            cache.set("readers", "a")
            _, token = cache.gets("readers")
            assert cache.cas("readers", "b", token) is True
            assert cache.cas("readers", "c", token) is False
            assert cache.get("readers") == b"b"
            cache.delete("readers")
            assert cache.cas("readers", "d", token) is None

    within(look)


def test_pymemcache_does_not_wait_for_answers_unless_told() -> None:
    """Its default says True for an add that was refused; incr and cas do wait."""

    def look(service: Service, address: str) -> None:
        with client(address) as hasty, client(address, default_noreply=False) as cache:
            assert cache.add("lock", 1) is True
            assert hasty.add("lock", 2) is True
            assert cache.add("lock", 3) is False
            assert cache.get("lock") == b"1"
            _, token = cache.gets("lock")
            cache.set("lock", 4)
            assert hasty.cas("lock", 5, token) is False

    within(look)


def test_pymemcache_waits_for_ever_unless_told() -> None:
    """Without timeout= there is none, neither to connect nor to be answered."""
    parameters = inspect.signature(PooledClient).parameters
    assert parameters["connect_timeout"].default is None
    assert parameters["timeout"].default is None


def test_stale_connection_fails_once() -> None:
    """After a restart a pooled connection fails once, then a new one is opened."""

    def look(service: Service, address: str) -> None:
        with client(address, default_noreply=False) as cache:
            cache.set("views", 1)
            service.stop()
            service.start()
            with pytest.raises((MemcacheUnexpectedCloseError, ConnectionError)):
                cache.incr("views", 1)
            assert cache.incr("views", 1) is None

    within(look)


def test_memcached_says_how_much_it_evicted() -> None:
    """The statistics that the page tells to watch exist and tell evictions from expiry."""

    def look(service: Service, address: str) -> None:
        with client(address) as cache:
            assert cache.stats()[b"evictions"] == 0
            for batch in range(60):
                titles = {f"title:{batch}:{n}": f"title {n}" for n in range(2000)}
                assert cache.set_many(titles, noreply=False) == []
            stats = cache.stats()
            assert stats[b"evictions"] > 0
            assert stats[b"limit_maxbytes"] == 8 * 2**20

    within(look)


AIOMCACHE = textwrap.dedent(
    """
    import asyncio, sys
    import aiomcache

    async def main():
        client = aiomcache.Client("127.0.0.1", int(sys.argv[1]))
        ticks = 0

        async def tick():
            while True:
                print("tick", flush=True)
                await asyncio.sleep(0.05)

        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0.2)
        print("ask", flush=True)
        try:
            async with asyncio.timeout(0.5):
                await client.incr(b"views")
        finally:
            print("answered", flush=True)

    asyncio.run(main())
    """
)


@contextlib.asynccontextmanager
async def closing_server() -> AsyncIterator[int]:
    """What a client sees of a Memcached that is killed: the command is read, then the end."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def test_aiomcache_stops_the_event_loop_when_the_connection_ends() -> None:
    """Why the examples use pymemcache: neither the timeout nor any other task runs again."""

    async def look() -> tuple[str, int | None]:
        async with closing_server() as port:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", AIOMCACHE, str(port)), stdout=subprocess.PIPE
            )
            try:
                assert process.stdout is not None
                printed = await process.stdout.readuntil(b"ask\n")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(3):  # six times its own timeout
                        printed += await process.stdout.read()
                return printed.decode(), process.returncode
            finally:
                process.kill()
                await process.wait()

    printed, code = asyncio.run(look())
    assert code is None, "it went on: the page can drop its reason"
    assert printed.split("ask\n")[1].count("tick") <= 1


def test_pymemcache_raises_when_the_connection_ends() -> None:
    """The same end of a connection is an error there, at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def close_after_command() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)

        thread = threading.Thread(target=close_after_command)
        thread.start()
        with (
            contextlib.closing(Client(server.getsockname(), timeout=30)) as cache,
            pytest.raises(MemcacheUnexpectedCloseError),
        ):
            cache.incr("views", 1)
        thread.join(10)
        assert not thread.is_alive()
