"""Trace: the record that every stage writes and every verdict is computed from."""

import json

import pytest

from workerlab.trace import Exchange, Trace, count_by_worker


def exchange(step: str = "visit", worker: int | None = 7, **fields: object) -> Exchange:
    defaults = {"start": 0.001, "end": 0.002, "status": 200, "value": 1.0}
    return Exchange(step=step, worker=worker, **{**defaults, **fields})  # type: ignore[arg-type]


def test_json_round_trip_keeps_everything_but_the_body() -> None:
    """What is read back equals what was written, through real JSON text."""
    trace = Trace()
    trace.add(exchange(body={"visits": 1}))
    trace.add(exchange(step="read", worker=None, status=None, value=None, error="reset"))
    trace.note("worker_killed", worker=7, detail="kill -9")
    data = json.loads(json.dumps(trace.to_dict()))
    again = Trace.from_dict(data)
    assert again.exchanges == trace.exchanges
    assert again.events[0].kind == "worker_killed"
    assert again.to_dict() == trace.to_dict()


def test_another_schema_is_refused() -> None:
    """A file of another version is not misread."""
    with pytest.raises(ValueError, match="expected 1"):
        Trace.from_dict({**Trace().to_dict(), "schema": 99})


def test_workers_are_those_that_answered() -> None:
    """A request without answer adds no worker."""
    trace = Trace()
    for worker in (9, 7, None, 9):
        trace.add(exchange(worker=worker, status=None if worker is None else 200))
    assert trace.workers == [9, 7]
    assert count_by_worker(trace.exchanges) == {9: 2, 7: 1}


def test_listener_hears_each_exchange() -> None:
    """Progress bars count what the trace counts."""
    trace, heard = Trace(), []
    trace.on_exchange = heard.append
    trace.add(exchange())
    assert heard == trace.exchanges
