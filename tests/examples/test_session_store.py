"""session_store: a dict forgets on other workers, a cookie can't be taken back, Redis can."""

import asyncio
import contextlib
import http.cookiejar
import importlib.metadata
import importlib.util
import time
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path
from types import ModuleType

import aiohttp
import httpx2
import pytest
import starsessions
from playwright.async_api import async_playwright
from starsessions import InMemoryStore

from contract import ANY, FOUR, broken, drills, fakes, play
from workerlab import catalog
from workerlab.cluster import WORKER_HEADER
from workerlab.uvicorn import UvicornCluster
from workerlab.valkey import private_valkey

SLUG = "session_store"
four = pytest.mark.parametrize(("server", "workers"), FOUR)


@four
def test_bad_knows_the_user_on_one_worker_only(server: str, workers: int) -> None:
    """Other workers show the login page, refuse items, and can't forget what they never had."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"logged_in", "items", "replayed"}
    refused = [e for e in result.trace.step("cart") if e.status == 401]
    assert refused


@four
def test_good_knows_the_user_everywhere_until_logout(server: str, workers: int) -> None:
    """With sessions in Redis all invariants hold."""
    assert broken(play(SLUG, "good", server, workers)) == set()


CAUGHT_BY = {
    "file_per_session": {"items"},
    "signed_cookie": {"items", "replayed"},
    "starsessions_redis": {"items"},
}


@four
@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """All share the login; each loses concurrent changes, the cookie survives the logout."""
    result = play(SLUG, fake, server, workers)
    assert broken(result) == CAUGHT_BY[fake]
    if fake == "signed_cookie":
        assert sum(result.trace.measured("replay.known")) == 100


@pytest.mark.parametrize("server", sorted({server for server, _ in FOUR}))
@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """An empty Redis logs everybody out; without Redis the answer is 503, in time."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


@pytest.mark.parametrize(
    ("drill", "app", "violated"),
    [
        ("redis_stop", "starsessions_redis", {"refused"}),
        ("redis_restart", "file_per_session", {"after"}),
    ],
)
def test_drill_can_fail(
    drill: str, app: str, violated: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a handler the answer is 500; sessions kept elsewhere outlive Redis."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, app, ANY, 4, experiment)) == violated


# -- what the page says beside the experiment ------------------------------------------------


def cookie(answer: httpx2.Response) -> dict[str, str]:
    """The request header that sends back what *answer* set."""
    ((name, morsel),) = SimpleCookie(answer.headers["set-cookie"]).items()
    return {"cookie": f"{name}={morsel.value}"}


@contextlib.asynccontextmanager
async def in_process(
    app: str, monkeypatch: pytest.MonkeyPatch, url: str = ""
) -> AsyncIterator[tuple[ModuleType, httpx2.AsyncClient]]:
    """good.py or a fake in this process: for what no experiment can cause over HTTP."""
    topic = catalog.find(SLUG)
    paths = {fake.name: fake.path for fake in topic.fakes}
    path = paths.get(app, topic.folder / f"{app}.py")
    spec = importlib.util.spec_from_file_location(f"{app}_in_process", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    async with private_valkey() as valkey:
        monkeypatch.setenv("REDIS_URL", url or valkey.env["REDIS_URL"])
        spec.loader.exec_module(module)
        async with (
            module.app.router.lifespan_context(module.app),
            httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app=module.app), base_url="http://app"
            ) as client,
        ):
            client.cookies.jar.set_policy(_NoCookies())
            yield module, client


class _NoCookies(http.cookiejar.DefaultCookiePolicy):
    """The tests state their cookies."""

    def set_ok(self, cookie: object, request: object) -> bool:
        return False


ALICE = {"user": "alice"}


def test_login_always_makes_a_new_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that an attacker planted, or the one before, is worth nothing after the login."""

    async def plant() -> tuple[set[str], list[str | None]]:
        async with in_process("good", monkeypatch) as (_, client):
            planted = {"cookie": "session_id=planted"}
            first = cookie(await client.post("/login", json=ALICE, headers=planted))
            second = cookie(await client.post("/login", json=ALICE, headers=first))
            ids = {h["cookie"] for h in (planted, first, second)}
            users = [
                (await client.get("/me", headers=h)).json()["user"]
                for h in (planted, first, second)
            ]
            return ids, users

    ids, users = asyncio.run(plant())
    assert len(ids) == 3
    assert users == [None, None, "alice"]


def test_cookie_is_closed_to_scripts_and_other_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    """HttpOnly, SameSite=Lax, Secure, on login and on logout; 256 random bits, no user."""

    async def flags() -> list[str]:
        async with in_process("good", monkeypatch) as (_, client):
            login = await client.post("/login", json=ALICE)
            logout = await client.post("/logout", headers=cookie(login))
            return [r.headers["set-cookie"] for r in (login, logout)]

    login, logout = asyncio.run(flags())
    for text in (login, logout):
        assert {"HttpOnly", "SameSite=lax", "Secure", "Path=/"} <= set(text.split("; "))
    assert "Max-Age=0" in logout
    assert len(login.partition("=")[2].partition(";")[0]) == 43  # 32 bytes in base64


def test_session_lives_30_minutes_from_its_last_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking and adding both set the expiry anew; nothing in Redis is without one."""

    async def lifetimes() -> list[int]:
        async with in_process("good", monkeypatch) as (good, client):
            monkeypatch.setattr(good, "STOCK_SECONDS", 0)
            mine = cookie(await client.post("/login", json=ALICE))
            store = good.app.state.redis
            (name,) = await store.keys("*")
            seen = [await store.ttl(name)]
            for method, path in (("GET", "/me"), ("POST", "/cart")):
                await store.expire(name, 10)
                await client.request(method, path, headers=mine)
                seen.append(await store.ttl(name))
            return seen

    assert all(1790 <= seconds <= 1800 for seconds in asyncio.run(lifetimes()))


async def add_during_logout(
    module: ModuleType, client: httpx2.AsyncClient
) -> tuple[int, str | None]:
    """Log out while an item is on its way; the status of the add, and who is known then."""
    asked, answer_now = asyncio.Event(), asyncio.Event()

    class Stock:
        """Instead of `asyncio.sleep` in the app: waits until the test lets it go on."""

        def __getattr__(self, name: str) -> object:
            return getattr(asyncio, name)

        async def sleep(self, seconds: float) -> None:
            asked.set()
            await answer_now.wait()

    mine = cookie(await client.post("/login", json=ALICE))
    module.asyncio = Stock()
    adding = asyncio.create_task(client.post("/cart", headers=mine))
    await asyncio.wait_for(asked.wait(), 10)
    await client.post("/logout", headers=mine)
    answer_now.set()
    status = (await adding).status_code
    return status, (await client.get("/me", headers=mine)).json()["user"]


def test_add_that_meets_a_logout_does_not_undo_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """HINCRBY makes a hash without a user: nobody is logged in, and it expires."""

    async def meet() -> tuple[tuple[int, str | None], dict[str, str], int]:
        async with in_process("good", monkeypatch) as (good, client):
            outcome = await add_during_logout(good, client)
            (name,) = await good.app.state.redis.keys("*")
            left = await good.app.state.redis.hgetall(name)
            return outcome, left, await good.app.state.redis.ttl(name)

    outcome, left, seconds = asyncio.run(meet())
    assert outcome == (200, None)
    assert left == {"items": "1"}
    assert 0 < seconds <= 1800


def test_starsessions_undoes_a_logout_that_it_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes the whole session back, user included."""

    async def meet() -> tuple[int, str | None]:
        async with in_process("starsessions_redis", monkeypatch) as (module, client):
            return await add_during_logout(module, client)

    assert asyncio.run(meet()) == (200, "alice")


def test_starsessions_keeps_a_planted_id_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `regenerate_session_id` the login adopts the id that the request brought."""

    async def plant() -> dict[str, str]:
        async with in_process("starsessions_redis", monkeypatch) as (module, client):
            monkeypatch.setattr(module, "regenerate_session_id", lambda request: None)
            planted = {"cookie": "session=planted"}
            return cookie(await client.post("/login", json=ALICE, headers=planted))

    assert asyncio.run(plant()) == {"cookie": "session=planted"}


def test_silent_redis_costs_one_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that accepts and never answers: 503 after TIMEOUT, not after redis-py's 5 s."""

    async def ask() -> tuple[float, int, float]:
        silent = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
        url = f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}/0"
        async with silent, in_process("good", monkeypatch, url) as (good, client):
            begun = time.perf_counter()
            answer = await client.get("/me")
            return time.perf_counter() - begun, answer.status_code, good.TIMEOUT

    seconds, status, limit = asyncio.run(ask())
    assert status == 503
    assert limit * 0.9 <= seconds < 5, seconds


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()


def test_sticky_connection_hides_the_fault_until_its_worker_ends() -> None:
    """bad.py over one kept connection: 100 of 100; after its worker ended: 0 of 100."""

    async def stick() -> tuple[list[int], set[str]]:
        app = catalog.find(SLUG).app("bad")
        async with (
            UvicornCluster(app, workers=4, cwd=catalog.ROOT) as cluster,
            aiohttp.ClientSession(
                base_url=f"http://127.0.0.1:{cluster.port}",
                connector=aiohttp.TCPConnector(limit=1),
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as client,
        ):
            async with client.post("/login", json=ALICE) as login:
                await login.read()  # an unread answer would close the connection
                worker = login.headers[WORKER_HEADER]
                mine = {"cookie": f"session_id={login.cookies['session_id'].value}"}
            answered_by = set()

            async def known() -> int:
                users = []
                for _ in range(100):
                    async with client.get("/me", headers=mine) as answer:
                        users.append((await answer.json())["user"])
                        answered_by.add(answer.headers[WORKER_HEADER])
                return users.count("alice")

            before, one = await known(), set(answered_by)
            await cluster.kill(int(worker))
            return [before, await known()], one

    counts, one = asyncio.run(stick())
    assert counts == [100, 0]
    assert len(one) == 1


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru"])
def test_full_redis_evicts_sessions(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that is a cache as well forgets sessions when its memory is full."""

    async def fill() -> str | None:
        async with in_process("good", monkeypatch) as (good, client):
            store = good.app.state.redis
            mine = cookie(await client.post("/login", json=ALICE))
            used = (await store.info("memory"))["used_memory"]
            await store.config_set("maxmemory-samples", 10)
            await store.config_set("maxmemory-policy", policy)
            await store.config_set("maxmemory", used + 2_000_000)
            for number in range(200):
                await store.set(f"cache:{number}", "x" * 100_000, ex=600)
            return (await client.get("/me", headers=mine)).json()["user"]

    assert asyncio.run(fill()) is None


def test_starsessions_writes_back_what_nobody_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that only looks stores the session as well."""

    async def read() -> tuple[bytes, bytes]:
        async with in_process("starsessions_redis", monkeypatch) as (module, client):
            mine = cookie(await client.post("/login", json=ALICE))
            (name,) = await module.client.keys("*")
            before = await module.client.get(name)
            await client.get("/me", headers=mine)
            return before, await module.client.get(name)

    before, after = asyncio.run(read())
    assert before != after  # the time of the last access is in it


@pytest.mark.browser
def test_chromium_returns_a_secure_cookie_to_this_machine_only() -> None:
    """Over http it does so for 127.0.0.1 and localhost, and for no other name."""
    log_in = """async () => {
        const headers = {"content-type": "application/json"};
        await fetch("/login", {method: "POST", headers, body: '{"user": "alice"}'});
        return (await (await fetch("/me")).json()).user;
    }"""

    async def visit() -> dict[str, str | None]:
        app = catalog.find(SLUG).app("bad")
        known = {}
        async with (
            UvicornCluster(app, workers=1, cwd=catalog.ROOT) as cluster,
            async_playwright() as playwright,
        ):
            browser = await playwright.chromium.launch(
                executable_path="/usr/bin/chromium",
                args=["--no-sandbox", "--host-resolver-rules=MAP lab.example 127.0.0.1"],
            )
            for host in ("127.0.0.1", "localhost", "lab.example"):
                page = await (await browser.new_context()).new_page()
                await page.goto(f"http://{host}:{cluster.port}/me")
                known[host] = await page.evaluate(log_in)
            await browser.close()
        return known

    users = asyncio.run(visit())
    assert users == {"127.0.0.1": "alice", "localhost": "alice", "lab.example": None}


def test_starsessions_has_no_store_that_changes_one_field() -> None:
    """Its stores read and write whole sessions; so did its last release, 2.2.1."""
    stores = [InMemoryStore, starsessions.CookieStore, starsessions.SessionStore]
    for store in stores:
        methods = {n for n in dir(store) if not n.startswith("_")}
        assert {"read", "write", "remove"} <= methods
        assert methods <= {"read", "write", "remove", "data"}, methods
    assert importlib.metadata.version("starsessions") == "2.2.1"
