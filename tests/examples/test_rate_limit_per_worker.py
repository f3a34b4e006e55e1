"""rate_limit_per_worker: a limit that every worker counts for itself is N times the limit."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from importlib.metadata import requires
from typing import Any

import pytest
import redis.asyncio
from limits import parse
from limits.aio.storage import RedisStorage
from limits.aio.storage.redis.bridge import RedisBridge
from limits.aio.strategies import FixedWindowRateLimiter
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from contract import ANY, FOUR, broken, drills, fakes, play
from workerlab import catalog, stage
from workerlab.experiment import Result
from workerlab.servers import SERVERS
from workerlab.valkey import private_valkey

SLUG = "rate_limit_per_worker"
TOPIC = catalog.find(SLUG)
four = pytest.mark.parametrize(("server", "workers"), FOUR)


def sent(result: Result) -> dict[str, float]:
    """How many codes each of the three got."""
    return {verdict.invariant.name: verdict.observed for verdict in result.verdicts}


@four
def test_bad_multiplies_the_limit(server: str, workers: int) -> None:
    """Up to 5 from each worker. gunicorn's asgi worker takes all clients for the proxy."""
    result = play(SLUG, "bad", server, workers)
    assert 5 < sent(result)["greedy"] <= 5 * workers
    if server == "gunicorn-asgi":
        assert sum(sent(result).values()) <= 5 * workers, "one count for everybody"
    else:
        assert broken(result) == {"greedy", "another", "liar"}


@four
def test_good_sends_five_to_everybody(server: str, workers: int) -> None:
    """Neither more nor fewer, also to those behind them and to those who lie."""
    assert broken(play(SLUG, "good", server, workers)) == set()


BROKEN = {
    "count_after_sending": {"greedy", "another", "liar"},
    "divide_by_workers": {"greedy", "another", "liar"},
    "trust_every_proxy": {"liar"},
}


@pytest.mark.parametrize(("fake", "server"), list(zip(fakes(SLUG), SERVERS, strict=True)))
def test_fake_is_caught(fake: str, server: str) -> None:
    """One server for each: bad.py fails in the same way on all of them."""
    result = play(SLUG, fake, server, 4)
    assert broken(result) <= BROKEN[fake]
    assert "liar" in broken(result)
    if fake == "divide_by_workers":
        assert max(sent(result).values()) == 4


@pytest.mark.parametrize("server", sorted({server for server, _ in FOUR}))
@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """Without Redis nobody gets a code, or everybody; and then five more."""
    assert broken(play(SLUG, "good", server, 4, TOPIC.drill(drill))) == set()


def test_other_policy_breaks_the_drill() -> None:
    """The drill can fail: who sends while Redis is down does not refuse."""
    drill = dataclasses.replace(
        TOPIC.drill("fail_closed"), environment={"WHEN_REDIS_IS_DOWN": "send"}
    )
    assert broken(play(SLUG, "good", ANY, 4, drill)) == {"down", "unavailable"}


def test_without_a_decision_the_answer_is_500() -> None:
    """A fake that says nothing about a stopped Redis: refused, but by an accident."""
    result = play(SLUG, "trust_every_proxy", ANY, 4, TOPIC.drill("fail_closed"))
    assert {e.status for e in result.trace.step("down")} == {500}


def test_slowapi_counts_in_memory_unless_told_otherwise() -> None:
    """As its examples are written, four workers send up to 20."""
    app = f"examples.{SLUG}.with_slowapi:app"
    result = asyncio.run(stage.play(TOPIC.experiment, app, workers=4))
    assert broken(result) == {"greedy", "another", "liar"}
    assert 5 < sent(result)["greedy"] <= 20


# -- counting -------------------------------------------------------------------------------

LIMIT = parse("5/10 minutes")


def with_limiter(
    look: Callable[[FixedWindowRateLimiter, redis.asyncio.Redis], Awaitable[None]],
) -> None:
    """Call *look* with a limiter like that of good.py, and a client of its Valkey."""

    async def block() -> None:
        async with private_valkey() as valkey:
            url = valkey.env["REDIS_URL"]
            storage = RedisStorage(f"async+{url}", implementation="redispy")
            async with redis.asyncio.from_url(url) as client, storage.bridge.storage:
                await look(FixedWindowRateLimiter(storage), client)

    asyncio.run(block())


def test_window_begins_with_the_first_hit_and_may_hold_twice_the_limit() -> None:
    """10 minutes from the first code, whatever the clock says; then five more at once."""

    async def look(limiter: FixedWindowRateLimiter, client: redis.asyncio.Redis) -> None:
        assert [await limiter.hit(LIMIT, "codes", "a") for _ in range(6)] == [True] * 5 + [
            False
        ]
        (key,) = await client.keys()
        assert 590 < await client.ttl(key) <= 600
        await client.expire(key, 300)
        assert not await limiter.hit(LIMIT, "codes", "a")
        assert await client.ttl(key) <= 300, "a later hit does not make the window longer"
        await client.delete(key)  # as the end of the window does
        assert [await limiter.hit(LIMIT, "codes", "a") for _ in range(6)] == [True] * 5 + [
            False
        ]

    with_limiter(look)


def test_count_and_expiry_are_one_script() -> None:
    """Who dies between INCR and EXPIRE leaves a key without end; limits has no between."""

    async def look(limiter: FixedWindowRateLimiter, client: redis.asyncio.Redis) -> None:
        async def two_steps(*, dies: bool = False) -> int:
            count = await client.incr("count")
            if count == 1 and not dies:
                await client.expire("count", 600)
            return int(count)

        await two_steps(dies=True)
        assert [await two_steps() for _ in range(5)] == [2, 3, 4, 5, 6]
        assert await client.ttl("count") == -1, "refused for ever"

    with_limiter(look)
    script = RedisBridge.SCRIPT_INCR_EXPIRE
    assert b"incrby" in script
    assert b"expire" in script


def test_limits_does_not_claim_redis_8() -> None:
    """Its extra asks for less; the tests above show that it works with 8.1."""
    (wanted,) = (r for r in requires("limits") or () if r.endswith("extra == 'redis'"))
    assert "<8" in wanted


# -- addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ("127.0.0.1", "127.0.0.1", "10.0.0.1, 192.0.2.66", "192.0.2.66"),
        ("*", "127.0.0.1", "10.0.0.1, 192.0.2.66", "10.0.0.1"),
        ("127.0.0.1", "172.18.0.3", "192.0.2.66", "172.18.0.3"),
        ("172.18.0.0/16", "172.18.0.3", "10.0.0.1, 192.0.2.66", "192.0.2.66"),
        ("172.18.0.0/16", "172.18.0.3", "192.0.2.66, 172.18.0.9", "192.0.2.66"),
        ("127.0.0.1", "192.0.2.66", "10.0.0.1", "192.0.2.66"),
    ],
)
def test_address_is_the_rightmost_that_is_no_trusted_proxy(
    trusted: str, peer: str, forwarded: str, client: str
) -> None:
    """With a star the leftmost, with a proxy that is not listed the proxy itself."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    scope: Any = {
        "type": "http",
        "client": (peer, 5000),
        "headers": [(b"x-forwarded-for", forwarded.encode())],
    }
    asyncio.run(ProxyHeadersMiddleware(app, trusted)(scope, None, None))  # type: ignore[arg-type]
    assert seen == [client]


def test_uvicorn_trusts_its_own_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default, and the variable of Docker recipes makes it trust everybody."""
    monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    default = Config("x:app")
    assert (default.proxy_headers, default.forwarded_allow_ips) == (True, "127.0.0.1,::1")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    assert Config("x:app").forwarded_allow_ips == "*"
