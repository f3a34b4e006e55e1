"""An experiment: one piece of traffic and the numbers that must come out.

It is plain data plus one function, `run`; stages (processes, containers, browser) differ only
in the `Cluster` that they hand over. Standard library only: runs in Pyodide.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from workerlab.cluster import Cluster
from workerlab.errors import TrafficError, WorkerlabError
from workerlab.trace import Trace

Relation = Literal["==", "<=", ">="]

MIN_WORKERS = 2
"""Fewer workers than this prove nothing: with one, every fault of this site hides."""


@dataclass(frozen=True, kw_only=True)
class Invariant:
    """A number that must hold, whichever worker answered.

    `label` and `why` are read by people (Japanese); `name` is the key in JSON.
    """

    name: str
    label: str
    observe: Callable[[Trace], float]
    """Pure: the same trace gives the same number; ``nan`` when there is nothing to see."""
    expected: float
    relation: Relation = "=="
    tolerance: float = 0.0
    """Allowed distance from `expected`, in the same unit."""
    why: str

    def judge(self, trace: Trace) -> Verdict:
        """Compare what *trace* shows with what is expected; ``nan`` never holds."""
        observed = self.observe(trace)
        if self.relation == "==":
            holds = abs(observed - self.expected) <= self.tolerance
        elif self.relation == "<=":
            holds = observed <= self.expected + self.tolerance
        else:
            holds = observed >= self.expected - self.tolerance
        return Verdict(invariant=self, observed=observed, holds=holds)

    @property
    def requirement(self) -> str:
        """The relation as people read it: ``= 1000``, ``≤ 5``, ``≥ 20``."""
        sign = {"==": "=", "<=": "≤", ">=": "≥"}[self.relation]
        margin = f" ± {number(self.tolerance)}" if self.tolerance else ""
        return f"{sign} {number(self.expected)}{margin}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one invariant said about one run."""

    invariant: Invariant
    observed: float
    holds: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; an observation that is not a number becomes ``null``."""
        return {
            "name": self.invariant.name,
            "label": self.invariant.label,
            "relation": self.invariant.relation,
            "expected": self.invariant.expected,
            "tolerance": self.invariant.tolerance,
            "why": self.invariant.why,
            "observed": None if math.isnan(self.observed) else self.observed,
            "holds": self.holds,
        }


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A process that runs beside the server, whichever variant of the app is served."""

    name: str
    """What `Cluster.stop_service` and `start_service` call it."""
    command: tuple[str, ...]
    """A Python module and its arguments: ``("taskiq", "worker", "examples.x.jobs:broker")``."""
    ready: str
    """What it writes when it is ready, on stdout or stderr: ``"Listening started"``."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A failure of one topic, as traffic and invariants."""

    topic: str
    """The slug: the same in ``docs/``, ``examples/`` and ``tests/``."""
    title: str
    traffic: Callable[[Cluster], Awaitable[None]]
    requests: int
    """How many requests `traffic` sends, for progress bars."""
    invariants: tuple[Invariant, ...]
    pictured: str = ""
    """Name of the invariant whose expected number the picture shows as a dashed line."""
    needs: frozenset[str] = frozenset()
    """What a stage must have: ``"redis"``, ``"postgres"``, ``"files"``, ``"nginx"`` …"""
    servers: frozenset[str] = frozenset()
    """Names of the servers on which it has a meaning; empty: all of them."""
    options: tuple[str, ...] = ()
    """Arguments for the server's command line, ``("--preload",)``."""
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Variables that the app reads, as a deployment sets them. A secret is made anew for each
    run of the command (`secrets`), never written down."""
    beside: tuple[Beside, ...] = ()
    """Processes that run beside the server, with the same settings of the services."""
    drill: str = ""
    """Name of a fault that is injected to show when the fix breaks; empty: the main one."""
    may_lose_requests: bool = False
    """Whether unanswered requests are part of the lesson rather than a broken run."""

    @property
    def expected_value(self) -> float | None:
        """The number of the dashed line; ``None`` when no line is wanted."""
        expected = {i.name: i.expected for i in self.invariants}
        return expected[self.pictured] if self.pictured else None

    def plays_on(self, server: str) -> bool:
        """Whether the experiment has a meaning on *server*."""
        return not self.servers or server in self.servers


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run of an experiment showed."""

    experiment: Experiment
    trace: Trace
    verdicts: tuple[Verdict, ...]

    @property
    def holds(self) -> bool:
        """Whether every invariant holds. Means nothing unless `conclusive`."""
        return all(verdict.holds for verdict in self.verdicts)

    @property
    def conclusive(self) -> bool:
        """Whether at least two workers answered; with fewer this is not a result."""
        return len(self.trace.workers) >= MIN_WORKERS

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, the part that is common to all stages."""
        return {
            "topic": self.experiment.topic,
            "drill": self.experiment.drill,
            "conclusive": self.conclusive,
            "holds": self.holds,
            "pids": self.trace.workers,
            "invariants": [verdict.to_dict() for verdict in self.verdicts],
            "trace": self.trace.to_dict(),
        }


async def run(experiment: Experiment, cluster: Cluster) -> Result:
    """Play the experiment's traffic against *cluster* and judge what came out.

    Raises:
        TrafficError: A request got no answer although the experiment does not allow for
            it, or not one request of some step was accepted (wrong routes).
    """
    try:
        await experiment.traffic(cluster)
    except BaseExceptionGroup as group:  # the traffic's own task groups wrap what they raise
        ours, others = group.split(WorkerlabError)
        if ours is None or others is not None:
            raise
        raise _first(ours) from None
    _check_playable(experiment, cluster.trace)
    return judge(experiment, cluster.trace)


def judge(experiment: Experiment, trace: Trace) -> Result:
    """Judge a trace, fresh or read from a recording. Pure."""
    verdicts = tuple(invariant.judge(trace) for invariant in experiment.invariants)
    return Result(experiment=experiment, trace=trace, verdicts=verdicts)


def number(value: float) -> str:
    """A number as people read it: integers without a point, ``nan`` as a dash."""
    if math.isnan(value):
        return "―"
    return f"{value:.0f}" if value == round(value, 2) == round(value) else f"{value:.2f}"


def _first(group: BaseExceptionGroup[WorkerlabError]) -> WorkerlabError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _check_playable(experiment: Experiment, trace: Trace) -> None:
    unanswered = [e for e in trace.exchanges if e.status is None]
    if unanswered and not experiment.may_lose_requests:
        raise TrafficError(
            f"{len(trace.exchanges)} 件のうち {len(unanswered)} 件のリクエストに"
            f"答えがありませんでした（{unanswered[0].error}）。この実験は全件の応答が"
            "前提です。サーバーが動き続けているかを確かめて、もう一度実行してください。"
        )
    for step in dict.fromkeys(e.step for e in trace.exchanges):
        answered = [e for e in trace.step(step) if e.status is not None]
        if answered and all(e.status in (404, 405) for e in answered):
            raise TrafficError(
                f"手順 {step} のリクエストがすべて {answered[0].status} でした。"
                f"この実験は {experiment.topic}/bad.py と同じパスとメソッドを"
                "呼び出します。アプリのルートを合わせてください。"
            )
