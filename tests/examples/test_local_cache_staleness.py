"""local_cache_staleness: a local cache needs both an expiry and a message."""

import asyncio

import pytest
import redis.asyncio

from contract import ANY, FOUR, broken, drills, good_here, play
from workerlab import catalog
from workerlab.valkey import private_valkey

SLUG = "local_cache_staleness"
four = pytest.mark.parametrize(("server", "workers"), FOUR)
CAUGHT_BY = {"pubsub_only": {"late", "lowest"}, "ttl_only": {"told"}}
"""Which half each fake lacks."""


@four
def test_bad_serves_the_old_price_for_ever(server: str, workers: int) -> None:
    """Neither a message nor an expiry: old after both changes."""
    assert broken(play(SLUG, "bad", server, workers)) == {"told", "late", "lowest"}


@four
def test_good_is_never_older_than_its_expiry(server: str, workers: int) -> None:
    """New as soon as it is told, and otherwise when the 2 seconds are over."""
    assert broken(play(SLUG, "good", server, workers)) == set()


@four
@pytest.mark.parametrize(("fake", "missing"), CAUGHT_BY.items())
def test_fake_is_caught(fake: str, missing: set[str], server: str, workers: int) -> None:
    """Half of the fix holds half of the invariants."""
    assert broken(play(SLUG, fake, server, workers)) == missing


def test_every_fake_is_played() -> None:
    """No fake is forgotten above."""
    assert {fake.name for fake in catalog.find(SLUG).fakes} == set(CAUGHT_BY)


@pytest.mark.parametrize("server", sorted({server for server, _ in FOUR}))
@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """A missed message costs at most the expiry, and later ones arrive again."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


def test_bad_breaks_the_drill() -> None:
    """The drill can fail: the old price of bad.py stays after the 2 seconds."""
    experiment = catalog.find(SLUG).drill("missed_message")
    assert broken(play(SLUG, "bad", ANY, 4, experiment)) == {"missed", "told"}


def test_message_is_lost_when_nobody_listens() -> None:
    """Pub/sub keeps nothing: who subscribes later never gets it, as the page says."""

    async def late() -> tuple[int, object]:
        async with (
            private_valkey() as valkey,
            redis.asyncio.from_url(valkey.env["REDIS_URL"]) as client,
            client.pubsub(ignore_subscribe_messages=True) as pubsub,
        ):
            receivers = await client.publish("price:changed", 200)
            await pubsub.subscribe("price:changed")
            return receivers, await pubsub.get_message(timeout=0.2)

    assert asyncio.run(late()) == (0, None)


def test_subscribing_again_empties_the_local_cache() -> None:
    """The confirmation of a subscription is a message too, as good.py's comment says."""

    async def first() -> object:
        async with (
            private_valkey() as valkey,
            redis.asyncio.from_url(valkey.env["REDIS_URL"]) as client,
            client.pubsub() as pubsub,
        ):
            await pubsub.subscribe("price:changed")
            async with asyncio.timeout(5):
                return (await anext(pubsub.listen()))["type"]

    assert asyncio.run(first()) == "subscribe"


def test_listening_outlives_the_socket_timeout() -> None:
    """A quiet channel is no error: `listen` waits without a limit, so good.py sets none."""

    async def listen() -> None:
        async with (
            private_valkey() as valkey,
            redis.asyncio.from_url(valkey.env["REDIS_URL"], socket_timeout=0.1) as client,
            client.pubsub() as pubsub,
        ):
            await pubsub.subscribe("price:changed")
            async with asyncio.timeout(0.5):
                async for _ in pubsub.listen():
                    pass

    with pytest.raises(TimeoutError) as caught:
        asyncio.run(listen())
    assert not isinstance(caught.value, redis.RedisError)


def test_read_that_meets_the_message_keeps_the_old_price_until_it_expires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read before the change, remembered after its message: old, for 2 seconds at most."""

    async def meet() -> tuple[int, int]:
        async with (
            private_valkey() as valkey,
            good_here(SLUG, monkeypatch, REDIS_URL=valkey.env["REDIS_URL"]) as (good, client),
        ):
            await client.put("/price", json={"price": 100})
            read = good.app.state.redis.get

            async def change_after_the_read(*args: object) -> object:
                monkeypatch.setattr(good.app.state.redis, "get", read)
                price = await read(*args)
                await client.put("/price", json={"price": 200})
                return price

            monkeypatch.setattr(good.app.state.redis, "get", change_after_the_read)
            await client.get("/price")
            old = (await client.get("/price")).json()["price"]
            monkeypatch.setattr(good, "local", {"price": (old, 0.0)})  # the 2 seconds are over
            return old, (await client.get("/price")).json()["price"]

    assert asyncio.run(meet()) == (100, 200)
