"""What happened during a run: one `Exchange` per request, plus `Event`s.

The same schema serves every stage (real processes, containers, the reader's browser), so a
verdict can be computed again from a recorded file. Standard library only: runs in Pyodide.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA = 1
"""Version of the JSON form; raised when an old file could no longer be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and what came back.

    Times are seconds since the trace began, on the clock of the process that sent the
    request, so that the order of exchanges is comparable across workers.
    """

    step: str
    """Which part of the traffic sent it: ``"visit"``, ``"read"``."""
    worker: int | None
    """Process id of the worker that answered; ``None`` when nobody did."""
    start: float
    end: float
    status: int | None
    """HTTP status; ``None`` when the connection broke or the time limit passed."""
    value: float | None = None
    """The number in the answer that the experiment is about."""
    error: str | None = None
    """Why there was no answer."""
    body: Any = field(default=None, compare=False, repr=False)
    """The decoded answer, for the traffic that is running; not kept in JSON."""
    headers: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    """The answer's headers, lower case; several values of one name are joined by line
    breaks (``set-cookie``). Not kept in JSON."""

    @property
    def ok(self) -> bool:
        """Whether an answer came, with a status below 400."""
        return self.status is not None and self.status < 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that was not a request: a worker was killed, a service stopped."""

    at: float
    kind: str
    """``"worker_killed"``, ``"worker_started"``, ``"service_stopped"``, ``"measured"`` …"""
    worker: int | None = None
    detail: str = ""
    value: float | None = None


class Trace:
    """The growing record of one run. Not thread-safe: one event loop writes it."""

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.exchanges: list[Exchange] = []
        self.events: list[Event] = []
        self.on_exchange: Callable[[Exchange], None] | None = None
        """Called after each exchange, for progress; must return quickly and not raise."""
        self._clock = clock
        self._origin = clock()

    def now(self) -> float:
        """Seconds since the trace was made."""
        return self._clock() - self._origin

    def add(self, exchange: Exchange) -> Exchange:
        """Keep *exchange*, tell the listener, and hand it back."""
        self.exchanges.append(exchange)
        if self.on_exchange is not None:
            self.on_exchange(exchange)
        return exchange

    def note(
        self,
        kind: str,
        *,
        worker: int | None = None,
        detail: str = "",
        value: float | None = None,
    ) -> Event:
        """Keep an event that happens now."""
        event = Event(at=self.now(), kind=kind, worker=worker, detail=detail, value=value)
        self.events.append(event)
        return event

    def step(self, name: str) -> list[Exchange]:
        """The exchanges of one step, in the order in which their answers came."""
        return [exchange for exchange in self.exchanges if exchange.step == name]

    def measured(self, name: str) -> list[float]:
        """The values of the events ``"measured"`` called *name* (``"postgres.backends"``)."""
        return [
            event.value
            for event in self.events
            if event.kind == "measured" and event.detail == name and event.value is not None
        ]

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers that answered, in the order of their first answer."""
        return list(dict.fromkeys(e.worker for e in self.exchanges if e.worker is not None))

    @property
    def duration(self) -> float:
        """Seconds from the beginning to the last answer or event; 0 when nothing happened."""
        ends = [e.end for e in self.exchanges] + [e.at for e in self.events]
        return max(ends, default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: exchanges by column (a third of the size), times in ms."""
        return {
            "schema": SCHEMA,
            "exchanges": {
                "step": [e.step for e in self.exchanges],
                "worker": [e.worker for e in self.exchanges],
                "start_ms": [_milliseconds(e.start) for e in self.exchanges],
                "end_ms": [_milliseconds(e.end) for e in self.exchanges],
                "status": [e.status for e in self.exchanges],
                "value": [e.value for e in self.exchanges],
                "error": {str(i): e.error for i, e in enumerate(self.exchanges) if e.error},
            },
            "events": [
                {
                    "at_ms": _milliseconds(e.at),
                    "kind": e.kind,
                    "worker": e.worker,
                    "detail": e.detail,
                    "value": e.value,
                }
                for e in self.events
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trace:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: The schema is not the one that this version writes.
        """
        if data.get("schema") != SCHEMA:
            raise ValueError(
                f"trace schema {data.get('schema')!r}: expected {SCHEMA}; "
                "record it again (make record)"
            )
        trace = cls()
        columns = data["exchanges"]
        trace.exchanges = [
            Exchange(
                step=columns["step"][i],
                worker=columns["worker"][i],
                start=columns["start_ms"][i] / 1000,
                end=columns["end_ms"][i] / 1000,
                status=columns["status"][i],
                value=columns["value"][i],
                error=columns["error"].get(str(i)),
            )
            for i in range(len(columns["step"]))
        ]
        trace.events = [_event_from_dict(event) for event in data["events"]]
        return trace


def count_by_worker(exchanges: Sequence[Exchange]) -> dict[int, int]:
    """How many of *exchanges* each worker answered, by process id."""
    counts: dict[int, int] = {}
    for exchange in exchanges:
        if exchange.worker is not None:
            counts[exchange.worker] = counts.get(exchange.worker, 0) + 1
    return counts


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 2)


def _event_from_dict(data: Mapping[str, Any]) -> Event:
    return Event(
        at=data["at_ms"] / 1000,
        kind=data["kind"],
        worker=data["worker"],
        detail=data["detail"],
        value=data["value"],
    )
