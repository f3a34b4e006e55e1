"""retry_storm: naive retries triple the calls and the charges; a budget and a key hold both."""

import asyncio
from collections.abc import Callable

import httpx2
import pytest
import tenacity
from tenacity import RetryCallState, retry, stop_after_attempt, wait_none

from contract import ANY, FOUR, broken, play, rotated_drills, rotated_fakes
from examples.retry_storm.budget import RetryBudget
from examples.retry_storm.good import may_pass
from workerlab import catalog
from workerlab.experiment import Result

SLUG = "retry_storm"
TOPIC = catalog.find(SLUG)
servers = pytest.mark.parametrize(("server", "workers"), FOUR)


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@servers
def test_bad_triples_the_calls_and_charges_twice(server: str, workers: int) -> None:
    """Three calls for each order while the bank fails, two charges for each repeated order."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"charges", "calls"}
    assert (observed(result, "charges"), observed(result, "calls")) == (80, 300)


@servers
def test_good_stays_within_the_budget_and_charges_once(server: str, workers: int) -> None:
    """At most 18 retries for 100 orders, and one charge whatever was repeated."""
    result = play(SLUG, "good", server, workers)
    assert broken(result) == set()
    assert 100 <= observed(result, "calls") <= 100 + 10 + 2 * workers


CAUGHT = {
    "backoff_only": ({"calls"}, 300),
    "two_layers": ({"calls"}, 900),
    "key_in_memory": ({"charges"}, 100),
}


@pytest.mark.parametrize(("fake", "server"), rotated_fakes(SLUG))
def test_fake_is_caught(fake: str, server: str) -> None:
    """Spread calls are as many, layers multiply, and a memory forgets what others did."""
    result = play(SLUG, fake, server, 4)
    invariants, calls = CAUGHT[fake]
    assert broken(result) == invariants
    assert observed(result, "calls") == calls


@pytest.mark.parametrize(("drill", "server"), rotated_drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """A spent budget refuses what a retry would have saved; the bank's return heals all."""
    assert broken(play(SLUG, "good", server, 4, TOPIC.drill(drill))) == set()


def test_drill_can_fail() -> None:
    """Without a budget nobody is refused: the cost is the budget's."""
    result = play(SLUG, "bad", ANY, 4, TOPIC.drill("budget_spent"))
    assert broken(result) == {"refused"}
    assert observed(result, "refused") == 0


def retries(budgets: int, requests: int) -> int:
    """How many retries *budgets* workers allow for *requests* that all fail."""
    workers = [RetryBudget() for _ in range(budgets)]
    state = RetryCallState(tenacity.Retrying(), None, (), {})
    allowed = 0
    for number in range(requests):
        budget = workers[number % budgets]
        budget.earn()
        allowed += not budget.is_spent(state)
    return allowed


def test_only_the_savings_multiply_with_the_workers() -> None:
    """10 % of the requests whatever the number of workers, plus two retries for each."""
    assert retries(1, 1000) == 101
    assert retries(4, 1000) == 104  # at most 100 + 2 * 4
    assert [retries(workers, 2 * workers) for workers in (1, 4, 16)] == [2, 8, 32]


def attempts(error: BaseException, budget: RetryBudget, allow: Callable[..., bool]) -> int:
    """How often a call is tried that always fails with *error*."""
    tried = 0

    @retry(
        retry=tenacity.retry_if_exception(allow),
        stop=stop_after_attempt(3) | budget.is_spent,
        wait=wait_none(),
        reraise=True,
    )
    async def call() -> None:
        nonlocal tried
        tried += 1
        raise error

    with pytest.raises(type(error)):
        asyncio.run(call())
    return tried


def test_the_last_attempt_does_not_pay() -> None:
    """Three attempts cost two retries; who may not repeat pays nothing."""
    budget = RetryBudget()
    assert attempts(ConnectionError(), budget, lambda _: False) == 1
    assert budget.points == budget.SAVED
    assert attempts(ConnectionError(), budget, lambda _: True) == 3
    assert budget.points == 0
    assert attempts(ConnectionError(), budget, lambda _: True) == 1


def test_only_what_may_pass_is_retried() -> None:
    """Server errors and broken connections, but never an answer that says no."""

    def status(code: int) -> httpx2.HTTPStatusError:
        request = httpx2.Request("POST", "http://bank/charges/1")
        response = httpx2.Response(code, request=request)
        return httpx2.HTTPStatusError("", request=request, response=response)

    assert may_pass(status(503))
    assert may_pass(httpx2.ConnectError("refused"))
    assert not may_pass(status(402))
    assert not may_pass(ValueError())
