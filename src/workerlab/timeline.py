"""A trace as an SVG: a lane per worker, time to the right, readable without colour.

The picture is drawn 400 units wide so that its text stays legible at 360 px; it carries its
own title and description for screen readers. Colours come from the page through CSS custom
properties, with defaults. Standard library only: runs in Pyodide.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from workerlab.experiment import number
from workerlab.trace import Exchange, Trace, count_by_worker

WIDTH = 400
LANE = 54
LEFT, RIGHT = 82, 334
"""Horizontal bounds of the plotting area; labels stand left, totals right of it."""
TOP = 20

STANDALONE_STYLE = (
    "<style>svg{color:#1f2328;background:#fff;--wl-value:#3f51b5;--wl-fail:#b3261e}"
    "@media(prefers-color-scheme:dark){svg{color:#e6e6e6;background:#16181d;"
    "--wl-value:#a5b4fc;--wl-fail:#ffb4ab}}</style>"
)


def timeline(
    trace: Trace,
    *,
    title: str,
    ident: str,
    expected: float | None = None,
    value_label: str = "値",
    lanes: Sequence[int] | None = None,
    duration: float | None = None,
    standalone: bool = False,
) -> str:
    """Draw *trace*, also a partial one.

    Args:
        title: Accessible name (Japanese).
        ident: Unique in the page; prefix of the ids of title and description.
        expected: Draws a dashed line at this value in every lane, and fixes the scale.
        value_label: What `Exchange.value` is called in the description (Japanese).
        lanes: Process ids in the order of the lanes; default: those that answered.
        duration: Seconds that the full width stands for; default: the trace's own.
        standalone: Add colours for light and dark, for a file that is opened alone.
    """
    pids = list(lanes) if lanes is not None else sorted(trace.workers)
    seconds = max(duration or trace.duration, 0.001)
    values = [e.value for e in trace.exchanges if e.value is not None]
    peak = max([*values, expected or 0.0, 1.0])
    height = TOP + LANE * len(pids) + 22
    parts = [
        f'<svg class="wl-timeline" xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {WIDTH} {height}" aria-labelledby="{ident}-t {ident}-d" '
        'font-family="system-ui, sans-serif" font-size="12" fill="currentColor">',
        STANDALONE_STYLE if standalone else "",
        f'<title id="{ident}-t">{escape(title)}</title>',
        f'<desc id="{ident}-d">{escape(describe(trace, pids, value_label))}</desc>',
        _header(expected),
    ]
    for index, pid in enumerate(pids):
        own = [e for e in trace.exchanges if e.worker == pid]
        parts.append(_lane(index, pid, own, seconds, peak, expected))
        parts.append(_events(index, pid, trace, seconds))
    parts.append(_lost(trace, seconds, len(pids)))
    parts.append(_axis(seconds, height))
    parts.append("</svg>\n")
    return "".join(part for part in parts if part)


def describe(trace: Trace, pids: Sequence[int], value_label: str = "値") -> str:
    """What the picture shows, in Japanese sentences, for those who cannot see it."""
    counts = count_by_worker(trace.exchanges)
    sentences = [
        f"{len(pids)} 個のワーカープロセスが {sum(counts.values())} 件の"
        "リクエストに答えました。"
    ]
    for index, pid in enumerate(pids, start=1):
        seen = [e.value for e in trace.exchanges if e.worker == pid and e.value is not None]
        last = f"、最後に返した{value_label}は {number(seen[-1])}" if seen else ""
        sentences.append(f"ワーカー {index} は {counts.get(pid, 0)} 件{last}。")
    lost = sum(1 for e in trace.exchanges if e.status is None)
    if lost:
        sentences.append(f"答えのなかったリクエストは {lost} 件。")
    return "".join(sentences)


def _header(expected: float | None) -> str:
    note = "" if expected is None else f"　点線 = {number(expected)}"
    return (
        f'<g font-size="10" opacity=".8"><text x="{LEFT}" y="12">'
        f"縦線 = 1 件の応答{note}</text>"
        f'<text x="{WIDTH - 4}" y="12" text-anchor="end">最後の値</text></g>'
    )


def _lane(
    index: int,
    pid: int,
    own: Sequence[Exchange],
    seconds: float,
    peak: float,
    expected: float | None,
) -> str:
    top = TOP + LANE * index
    base = top + LANE - 12
    room = LANE - 18
    seen = [e for e in own if e.value is not None]
    last = number(seen[-1].value) if seen and seen[-1].value is not None else "―"
    parts = [
        f'<text x="4" y="{top + 22}">ワーカー {index + 1}</text>'
        f'<text x="4" y="{top + 36}" font-size="10" opacity=".8">{len(own)} 件</text>'
        f'<path d="M{LEFT} {base}H{RIGHT}" stroke="currentColor" opacity=".35"/>'
    ]
    if expected is not None:
        y = base - room * expected / peak
        parts.append(
            f'<path d="M{LEFT} {y:g}H{RIGHT}" stroke="currentColor" opacity=".7" '
            'stroke-dasharray="2 3"/>'
        )
    parts.append(_ticks(own, seconds, base))
    parts.append(_staircase(seen, seconds, base, room, peak))
    parts.append(_crosses([e for e in own if not e.ok], seconds, base - 6))
    parts.append(
        f'<text x="{WIDTH - 4}" y="{top + 29}" text-anchor="end" font-size="15" '
        f'font-weight="700">{last}</text>'
    )
    return f'<g class="wl-lane" data-worker="{pid}">{"".join(parts)}</g>'


def _ticks(own: Sequence[Exchange], seconds: float, base: float) -> str:
    columns = sorted({_x(e.end, seconds) for e in own if e.ok})
    if not columns:
        return ""
    path = "".join(f"M{x:g} {base:g}v6" for x in columns)
    return f'<path class="wl-tick" d="{path}" stroke="currentColor" opacity=".55"/>'


def _staircase(
    seen: Sequence[Exchange], seconds: float, base: float, room: float, peak: float
) -> str:
    """The value that this worker answered, over time; one point for each column."""
    if not seen:
        return ""
    columns: dict[float, float] = {}
    for exchange in seen:
        columns[_x(exchange.end, seconds)] = exchange.value or 0.0
    stairs = sorted(columns.items())
    if len(stairs) == 1:  # a line of one point draws nothing, not even its round end
        stairs.append((stairs[0][0] + 0.1, stairs[0][1]))
    points = " ".join(f"{x:g},{base - room * value / peak:.1f}" for x, value in stairs)
    return (
        f'<polyline class="wl-value" points="{points}" fill="none" stroke-width="2.5" '
        'stroke="var(--wl-value, #3f51b5)" stroke-linejoin="round" '
        'stroke-linecap="round"/>'
    )


def _crosses(failed: Sequence[Exchange], seconds: float, y: float) -> str:
    """Failures as crosses: a shape of their own, not only a colour."""
    columns = sorted({_x(e.end, seconds) for e in failed})
    if not columns:
        return ""
    path = "".join(f"M{x - 3:g} {y - 3:g}l6 6m0-6l-6 6" for x in columns)
    return (
        f'<path class="wl-fail" d="{path}" fill="none" stroke-width="2" '
        'stroke="var(--wl-fail, #b3261e)"/>'
    )


def _lost(trace: Trace, seconds: float, lanes: int) -> str:
    """Requests that nobody answered stand on the time axis, below the lanes."""
    lost = [e for e in trace.exchanges if e.worker is None]
    return _crosses(lost, seconds, TOP + LANE * lanes + 3)


def _events(index: int, pid: int, trace: Trace, seconds: float) -> str:
    top = TOP + LANE * index
    return "".join(
        f'<g class="wl-event"><path d="M{_x(e.at, seconds):g} {top + 4}v{LANE - 14}" '
        'stroke="var(--wl-fail, #b3261e)" stroke-width="1.5" stroke-dasharray="4 2"/>'
        f'<text x="{_x(e.at, seconds) + 3:g}" y="{top + 14}" font-size="10">'
        f"{escape(e.detail or e.kind)}</text></g>"
        for e in trace.events
        if e.worker == pid
    )


def _axis(seconds: float, height: int) -> str:
    return (
        f'<g font-size="10" opacity=".8"><text x="{LEFT}" y="{height - 6}">0</text>'
        f'<text x="{RIGHT}" y="{height - 6}" text-anchor="end">{seconds:.2f} 秒</text></g>'
    )


def _x(at: float, seconds: float) -> float:
    """Half units are as fine as a screen shows, and keep the file small."""
    return round((LEFT + (RIGHT - LEFT) * min(at / seconds, 1.0)) * 2) / 2
