"""What the cells of a notebook show: played experiments that draw themselves as HTML.

Standard library and the engine's pure modules only: the same file shows the results of the
cells that run in a page (``docs/assets/cells/``), where `workerlab.plot` is another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import count
from typing import TYPE_CHECKING

from workerlab.errors import UnknownTopicError
from workerlab.experiment import Result, Verdict, number
from workerlab.timeline import timeline
from workerlab.trace import Exchange, Trace, count_by_worker

if TYPE_CHECKING:
    from workerlab.plot import Picture

_idents = count(1)


@dataclass(frozen=True, kw_only=True)
class Closed:
    """What the last cell shows."""

    servers: int

    def __repr__(self) -> str:
        return (
            f"{self.servers} 個のサーバーを止めました。動いているものはありません。"
            if self.servers
            else "動いているサーバーはありません。"
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """A played experiment; as the last expression of a cell it draws itself."""

    result: Result
    app: str
    server: str
    workers: int

    @property
    def trace(self) -> Trace:
        """Everything that was sent and answered."""
        return self.result.trace

    @property
    def holds(self) -> bool:
        """Whether every invariant holds."""
        return self.result.holds

    @property
    def broken(self) -> list[str]:
        """Names of the invariants that do not hold."""
        return [v.invariant.name for v in self.result.verdicts if not v.holds]

    def __getitem__(self, name: str) -> float:
        """What was observed for the invariant *name*.

        Raises:
            UnknownTopicError: There is none of this name; the message lists those there are.
        """
        observed = {v.invariant.name: v.observed for v in self.result.verdicts}
        if name not in observed:
            raise UnknownTopicError(
                f"「{name}」という不変条件はありません。指定できる名前: {'、'.join(observed)}。"
            )
        return observed[name]

    def plot(self) -> Picture:
        """How many requests each worker answered."""
        return answers(self.trace.exchanges, title=f"{self._title}で、各ワーカーが答えた件数")

    @property
    def _title(self) -> str:
        return f"{self.result.experiment.title}（{self.app}、ワーカー {self.workers}）"

    def __repr__(self) -> str:
        rows = (
            f"{v.invariant.label} {v.invariant.requirement}: {number(v.observed)} {_word(v)}"
            for v in self.result.verdicts
        )
        return "\n".join([self._title, *rows])

    def _repr_html_(self) -> str:
        return _drawn(
            self.trace, self._title, self.result.experiment.expected_value
        ) + verdict_table(self.result.verdicts)


@dataclass(frozen=True, kw_only=True)
class Look:
    """A trace so far, drawn; see `look`."""

    trace: Trace
    title: str
    expected: float | None = None

    def __repr__(self) -> str:
        counts = count_by_worker(self.trace.exchanges)
        return f"{self.title}: {len(counts)} 個のワーカーが {sum(counts.values())} 件に答えた"

    def _repr_html_(self) -> str:
        return _drawn(self.trace, self.title, self.expected)


def figure(svg: str, caption: str) -> str:
    """An SVG with its caption, in the colours of the page or of JupyterLab."""
    return (
        '<figure class="wl-recording" style="margin:0;max-width:41rem;'
        '--wl-value:var(--jp-brand-color1,#3f51b5);--wl-fail:var(--jp-error-color1,#b3261e)">'
        f"{svg.strip()}<figcaption>{escape(caption)}</figcaption></figure>"
    )


def answers(
    exchanges: Sequence[Exchange], *, title: str, workers: Sequence[int] = ()
) -> Picture:
    """How many of *exchanges* each worker answered, as bars with process ids.

    Args:
        workers: Process ids to show too when they answered nothing.
    """
    from workerlab.plot import bars  # here: matplotlib takes a second to load

    counts = {**dict.fromkeys(workers, 0), **count_by_worker(exchanges)}
    return bars(
        {f"PID {pid}": counts[pid] for pid in sorted(counts)}, title=title, unit="答えた件数"
    )


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as an HTML table."""
    heads = ("不変条件", "期待", "観測", "判定")
    rows = "".join(
        "<tr>"
        f"<td>{escape(v.invariant.label)}</td><td>{escape(v.invariant.requirement)}</td>"
        f"<td>{number(v.observed)}</td><td>{_word(v)}</td></tr>"
        for v in verdicts
    )
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _word(verdict: Verdict) -> str:
    return "○ 成り立つ" if verdict.holds else "× 破れた"


def _drawn(trace: Trace, title: str, expected: float | None) -> str:
    ident = f"wl-run-{next(_idents)}"
    return figure(timeline(trace, title=title, ident=ident, expected=expected), title)
