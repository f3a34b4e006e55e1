"""websocket_broadcast: every client of every worker gets every message once, in order."""

import asyncio
from importlib.metadata import requires

import pytest
import redis.asyncio as redis

from contract import FOUR, broken, play, rotated_fakes
from workerlab import catalog, stage
from workerlab.experiment import Result
from workerlab.services import SERVICES

SLUG = "websocket_broadcast"
TOPIC = catalog.find(SLUG)
servers = pytest.mark.parametrize(("server", "workers"), FOUR)
CAUGHT = {
    "also_locally": {"twice"},
    "background_publish": {"confused"},
    "poll_the_latest": {"delivered"},
    "shared_queue": {"delivered"},
}
"""What each fake breaks; with the state of a server or worker it has nothing to do."""


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@servers
def test_bad_reaches_the_worker_of_the_sender_only(server: str, workers: int) -> None:
    """Two clients on each of four workers: two of eight get the ten messages."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"delivered"}
    assert observed(result, "delivered") == 20


@servers
def test_good_reaches_every_client(server: str, workers: int) -> None:
    """Eight clients, ten messages, eighty deliveries."""
    assert broken(play(SLUG, "good", server, workers)) == set()


@pytest.mark.parametrize(("fake", "server"), rotated_fakes(SLUG))
def test_fake_is_caught(fake: str, server: str) -> None:
    """Twice, out of order, or not to everybody."""
    assert broken(play(SLUG, fake, server, 4)) == CAUGHT[fake]


@pytest.mark.parametrize("drill", ["come_back", "redis_stopped"])
def test_drill_ends_as_stated(drill: str) -> None:
    """Who is away misses it; who can't send is told; afterwards all goes on."""
    assert broken(play(SLUG, "good", "uvicorn", 4, TOPIC.drill(drill))) == set()


@pytest.mark.timeout(180)
@servers
def test_client_that_does_not_read_is_closed(server: str, workers: int) -> None:
    """Each server has back-pressure; the others get everything."""
    result = play(SLUG, "good", server, workers, TOPIC.drill("slow_client"))
    assert broken(result) == set()


def streams(drill: str | None = None) -> Result:
    """streams.py under the main experiment or a drill."""
    experiment = TOPIC.drill(drill) if drill else TOPIC.experiment
    app = str(TOPIC.folder / "streams.py")
    return asyncio.run(stage.play(experiment, app, workers=4))


def test_streams_deliver_what_was_missed() -> None:
    """With the last number H gets the five messages; nothing comes twice."""
    result = streams("come_back")
    assert broken(result) == {"away"}
    assert observed(result, "away") == 5
    received = [e.value for e in result.trace.step("H")]
    assert received == list(range(1, 12))


def test_streams_hold_the_invariants() -> None:
    """The other transport keeps what good.py keeps."""
    assert broken(streams()) == set()


def test_publish_returns_the_number_of_subscribers() -> None:
    """Nobody there is no error: it returns 0."""

    async def publish() -> list[int]:
        async with (
            SERVICES["redis"]() as service,
            redis.from_url(service.env["REDIS_URL"]) as client,
            client.pubsub() as pubsub,
        ):
            before = await client.publish("chat", "nobody")
            await pubsub.subscribe("chat")
            return [before, await client.publish("chat", "one")]

    assert asyncio.run(publish()) == [0, 1]


def test_uvicorn_standard_brings_websockets() -> None:
    """What makes uvicorn speak WebSocket is in the extra."""
    wanted = [line for line in requires("uvicorn") or [] if line.startswith("websockets")]
    assert wanted
    assert all("standard" in line for line in wanted)
