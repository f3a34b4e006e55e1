"""distributed_lock: a lock that expires can't stop a late writer, the written row can."""

import asyncio
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from fastapi import HTTPException
from redis.lock import Lock
from uvicorn.config import Config

from contract import ANY, FOUR, broken, play, rotated_drills, rotated_fakes
from workerlab import catalog, stage
from workerlab.experiment import Experiment, Result
from workerlab.valkey import private_valkey

SLUG = "distributed_lock"
TOPIC = catalog.find(SLUG)
four = pytest.mark.parametrize(("server", "workers"), FOUR)


def statuses(result: Result, step: str) -> list[int | None]:
    """What the requests of *step* were answered with."""
    return [exchange.status for exchange in result.trace.step(step)]


@four
def test_bad_writes_the_old_quantity_over_the_new(server: str, workers: int) -> None:
    """Whether the answer is late or the worker stops; and both late writers get a 200."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"slow", "paused"}
    assert statuses(result, "holder") == [200, 200]


@four
def test_good_refuses_who_was_overtaken(server: str, workers: int) -> None:
    """The row takes no write with an old token, and the late ones are told so."""
    result = play(SLUG, "good", server, workers)
    assert broken(result) == set()
    assert statuses(result, "holder") == [409, 409]


@pytest.mark.parametrize(("fake", "server"), rotated_fakes(SLUG))
def test_fake_is_caught(fake: str, server: str) -> None:
    """None survives a holder that is stopped; what a slow answer does depends on the load.

    One server for each: bad.py fails in the same way on all of them.
    """
    result = play(SLUG, fake, server, 4)
    assert "paused" in broken(result) <= {"slow", "paused"}


@pytest.mark.parametrize(("drill", "server"), rotated_drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """An empty Redis costs one worker its work, and the stock nothing."""
    result = play(SLUG, "good", server, 4, TOPIC.drill(drill))
    assert broken(result) == set()
    assert statuses(result, "down") == [500]


def test_bad_breaks_the_drill() -> None:
    """The drill can fail: without a token the old quantity comes back."""
    result = play(SLUG, "bad", ANY, 4, TOPIC.drill("redis_restart"))
    assert broken(result) == {"refused", "restarted"}


def with_counter_in_redis(experiment: Experiment) -> Result:
    app = f"examples.{SLUG}.counter_in_redis:app"
    return asyncio.run(stage.play(experiment, app, workers=4))


def test_counter_in_redis_holds_while_redis_does() -> None:
    """INCR gives good tokens, as long as Redis remembers."""
    assert broken(with_counter_in_redis(TOPIC.experiment)) == set()


def test_counter_in_redis_accepts_an_old_writer_after_a_restart() -> None:
    """The new holder gets token 1, so the old one with token 2 looks newer."""
    result = with_counter_in_redis(TOPIC.drill("redis_restart"))
    assert broken(result) == {"refused", "restarted"}
    assert statuses(result, "holder") == [200]


# -- in this process ------------------------------------------------------------------------


def look_at(
    name: str,
    look: Callable[[ModuleType, ModuleType], None],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
) -> None:
    """Call *look* with a variant and shop.py, both imported anew, and a Valkey running."""

    async def block() -> None:
        async with private_valkey() as valkey:
            monkeypatch.setenv("REDIS_URL", valkey.env["REDIS_URL"])
            monkeypatch.setenv("DATA_DIR", str(folder))
            for loaded in [m for m in sys.modules if m.startswith(f"examples.{SLUG}")]:
                monkeypatch.delitem(sys.modules, loaded)
            variant = importlib.import_module(f"examples.{SLUG}.{name}")
            try:
                await asyncio.to_thread(look, variant, variant.shop)
            finally:
                variant.store.close()

    asyncio.run(block())


def status_of(variant: ModuleType) -> int:
    """What ``POST /sync`` answers."""
    try:
        variant.sync_stock()
    except HTTPException as refusal:
        return refusal.status_code
    return 200


@pytest.mark.parametrize(("name", "left"), [("bad", None), ("good", b"of another")])
def test_plain_delete_takes_away_the_lock_of_another(
    name: str, left: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """While bad.py works, its lock expires and somebody else gets it: DEL asks nobody."""

    def look(variant: ModuleType, shop: ModuleType) -> None:
        def ask_long() -> int:
            assert variant.store.delete("stock:lock") == 1  # as the expiry does
            assert variant.store.set("stock:lock", "of another", nx=True)
            return 5

        monkeypatch.setattr(shop, "ask_warehouse", ask_long)
        assert variant.sync_stock()["quantity"] == 5
        assert variant.store.get("stock:lock") == left

    look_at(name, look, monkeypatch, tmp_path)


def test_counter_that_fell_back_refuses_new_writers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After three writes and an empty Redis, the next three are refused."""

    def look(variant: ModuleType, shop: ModuleType) -> None:
        assert [status_of(variant) for _ in range(3)] == [200] * 3
        variant.store.flushall()
        assert [status_of(variant) for _ in range(4)] == [409, 409, 409, 200]

    look_at("counter_in_redis", look, monkeypatch, tmp_path)


@pytest.mark.parametrize(("name", "status"), [("good", 409), ("counter_in_redis", 200)])
def test_only_the_token_in_the_row_refuses_before_the_newer_has_written(
    name: str, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The older writes first: good.py has made its token void, INCR has told nobody."""

    def look(variant: ModuleType, shop: ModuleType) -> None:
        def ask_long() -> int:  # meanwhile somebody else gets the lock and a token
            if name == "good":
                variant.next_token()
            else:
                variant.store.incr("stock:token")
            return 5

        monkeypatch.setattr(shop, "ask_warehouse", ask_long)
        assert status_of(variant) == status

    look_at(name, look, monkeypatch, tmp_path)


def test_release_compares_and_deletes_in_one_script() -> None:
    """redis-py does in Lua what GET, compare and DEL can't do from outside."""
    assert "'get'" in Lock.LUA_RELEASE_SCRIPT
    assert "'del'" in Lock.LUA_RELEASE_SCRIPT


def test_uvicorn_ends_a_worker_that_is_silent_for_5_seconds() -> None:
    """By default; the experiment sets more, or a long stop would end without a late write."""
    assert Config("x:app").timeout_worker_healthcheck == 5
    assert int(TOPIC.experiment.environment["UVICORN_TIMEOUT_WORKER_HEALTHCHECK"]) > 60
