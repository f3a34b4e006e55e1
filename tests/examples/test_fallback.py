"""fallback: a silent service takes down whoever waits for it; a breaker answers instead."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import httpx2
import pybreaker
import pytest
from circuitbreaker import CircuitBreaker
from fluxgate import AsyncCircuitBreaker
from fluxgate.errors import CallNotPermittedError
from fluxgate.permits import All
from fluxgate.retries import Cooldown
from fluxgate.trippers import Closed, FailureStreak, HalfOpened, Tripper

from contract import FOUR, broken, fakes, play
from workerlab import catalog
from workerlab.experiment import Result

SLUG = "fallback"
TOPIC = catalog.find(SLUG)
servers = pytest.mark.parametrize(("server", "workers"), FOUR)


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@servers
def test_bad_fails_with_the_service_it_asks(server: str, workers: int) -> None:
    """All that ask while the service hangs get 500, and the app is well before and after."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"answered"}
    assert [e.status for e in result.trace.step("outage")] == [500] * 8


@servers
def test_good_answers_from_what_it_knew(server: str, workers: int) -> None:
    """All are answered while the service hangs, few wait for it, and the end is noticed."""
    result = play(SLUG, "good", server, workers)
    assert broken(result) == set()
    stale = [e.body["stale"] for e in result.trace.step("outage")]
    assert stale == [True] * 96, "an old price must say that it is old"


CAUGHT = {
    "counts_not_found": ("gunicorn-asgi", {"unknown"}),
    "sync_breaker": ("gunicorn-uvicorn", {"calls"}),
    "timeout_only": ("gunicorn-asgi", {"calls"}),
    "until_restart": ("uvicorn", {"recovered"}),
}


@pytest.mark.parametrize("fake", fakes(SLUG))
def test_fake_is_caught(fake: str) -> None:
    """Nobody waits less, a customer's typo opens the circuit, or nothing ever closes it."""
    server, invariants = CAUGHT[fake]
    result = play(SLUG, fake, server, 4)
    assert broken(result) == invariants
    if invariants == {"calls"}:
        assert observed(result, "calls") == 96, "every request waited for the silent service"


@pytest.mark.parametrize("drill", ["cold_worker", "too_old"])
def test_drill_ends_as_stated(drill: str) -> None:
    """Who knows no price, or only one that is too old, says so with 503 and a time."""
    assert broken(play(SLUG, "good", "uvicorn", 4, TOPIC.drill(drill))) == set()


# -- what the page says besides ---------------------------------------------------------------

FAILURES, COOLDOWN, AT_ONCE = 3, 1, 20
FOR_EVER = 600
OPENS = Closed() & FailureStreak(FAILURES) | HalfOpened() & FailureStreak(1)
Call = Callable[[], Awaitable[None]]


class BrokenError(Exception):
    """What the called service raises."""


class Upstream:
    """A service that fails, after the event loop has let everybody in."""

    def __init__(self) -> None:
        self.calls = 0

    async def call(self) -> None:
        """Count, wait, fail."""
        self.calls += 1
        await asyncio.sleep(0.01)
        raise BrokenError


def fluxgate(tripper: Tripper = OPENS, cooldown: float = COOLDOWN) -> AsyncCircuitBreaker:
    return AsyncCircuitBreaker(
        tripper=tripper, retry=Cooldown(cooldown), permit=All(), max_half_open_calls=1
    )


def circuitbreaker_call(call: Call) -> Call:
    return CircuitBreaker(FAILURES, COOLDOWN, name="rates")(call)


def pybreaker_call(call: Call) -> Call:
    breaker = pybreaker.CircuitBreaker(FAILURES, COOLDOWN)

    async def guarded() -> None:
        with breaker.calling():
            await call()

    return guarded


async def fail_at_once(call: Call, count: int) -> Counter[str]:
    """What *count* callers get at the same time."""
    ended = await asyncio.gather(*(call() for _ in range(count)), return_exceptions=True)
    return Counter(type(error).__name__ for error in ended)


async def trials(guard: Callable[[Call], Call]) -> int:
    """How many calls of *AT_ONCE* the half-open circuit lets through."""
    upstream = Upstream()
    guarded = guard(upstream.call)
    await fail_at_once(guarded, FAILURES)
    opened = upstream.calls
    await fail_at_once(guarded, 1)
    assert upstream.calls == opened == FAILURES, "it did not open"
    await asyncio.sleep(1.2 * COOLDOWN)  # the libraries look at the clock, not at an event
    await fail_at_once(guarded, AT_ONCE)
    return upstream.calls - opened


def test_half_open_circuit_lets_one_through_in_fluxgate_only() -> None:
    """Of twenty at once one tries; with the other two libraries all twenty do."""
    assert asyncio.run(trials(lambda call: fluxgate()(call))) == 1
    assert asyncio.run(trials(circuitbreaker_call)) == AT_ONCE
    assert asyncio.run(trials(pybreaker_call)) == AT_ONCE


def test_same_streak_for_both_states_tries_three_times() -> None:
    """Without HalfOpened a failed trial does not open the circuit again: three do."""
    tripper = FailureStreak(FAILURES)
    assert asyncio.run(trials(lambda call: fluxgate(tripper)(call))) == FAILURES


def test_others_wait_for_the_trial() -> None:
    """Who comes while one tries gets no answer before it, and then the refusal."""

    async def show() -> tuple[int, Counter[str]]:
        ended = asyncio.Event()
        breaker = fluxgate()
        await fail_at_once(breaker(Upstream().call), FAILURES)
        await asyncio.sleep(1.2 * COOLDOWN)

        @breaker
        async def trial() -> None:
            await ended.wait()
            raise BrokenError

        callers = [asyncio.create_task(fail_at_once(trial, 1)) for _ in range(4)]
        done, _ = await asyncio.wait(callers, timeout=0.2)
        ended.set()
        answers = await asyncio.gather(*callers)
        return len(done), sum(answers, start=Counter[str]())

    refused = CallNotPermittedError.__name__
    assert asyncio.run(show()) == (0, {"BrokenError": 1, refused: 3})


def test_each_worker_has_to_learn_it_by_itself() -> None:
    """Four circuits that nobody shares let 4 × 3 failing calls through, one circuit 3."""

    async def calls(workers: int) -> int:
        upstream = Upstream()
        guarded = [fluxgate(cooldown=FOR_EVER)(upstream.call) for _ in range(workers)]
        for _ in range(2 * FAILURES):
            for call in guarded:
                await fail_at_once(call, 1)
        return upstream.calls

    assert asyncio.run(calls(1)) == 3
    assert asyncio.run(calls(4)) == 12


def test_circuit_does_not_see_who_gave_up_waiting() -> None:
    """A time limit around the circuit cancels the call, and that is not a failure."""

    async def calls(*, inside: bool) -> Counter[str]:
        breaker = fluxgate(cooldown=FOR_EVER)

        async def hang() -> None:
            async with asyncio.timeout(0.01 if inside else None):
                await asyncio.sleep(60)

        async def ask() -> None:
            async with asyncio.timeout(None if inside else 0.01):
                await breaker(hang)()

        return sum(
            [await fail_at_once(ask, 1) for _ in range(FAILURES + 1)], start=Counter[str]()
        )

    refused = CallNotPermittedError.__name__
    assert asyncio.run(calls(inside=True)) == {"TimeoutError": 3, refused: 1}
    assert asyncio.run(calls(inside=False)) == {"TimeoutError": 4}


def test_pybreaker_does_not_await() -> None:
    """Its decorator sees a coroutine being made; what it raises comes later."""
    upstream = Upstream()
    breaker = pybreaker.CircuitBreaker(FAILURES, COOLDOWN)
    ended = asyncio.run(fail_at_once(breaker(upstream.call), AT_ONCE))
    assert ended == {"BrokenError": AT_ONCE}
    assert breaker.current_state == "closed"


def test_httpx_waits_for_five_seconds() -> None:
    """The default that bad.py has without saying so."""
    assert httpx2.AsyncClient().timeout == httpx2.Timeout(5)
