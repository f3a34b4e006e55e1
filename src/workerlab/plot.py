"""Charts as SVG that stands in a notebook or a page: light and dark, with words for everybody.

matplotlib draws; what it writes is then made fit to stand inside HTML. Text stays text, so the
reader's own fonts show it: no Japanese font has to be installed or shipped. Colours follow the
page (``currentColor``, CSS custom properties), and no ``style`` attribute is left, which a
Content-Security-Policy would ignore. Every chart has a title and a description in words.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workerlab.experiment import number
from workerlab.results import figure

INK, MAIN, FAIL = "#010101", "#020202", "#030303"
"""Stand-ins, which `_inline` replaces by what the page decides."""
COLOURS = {
    INK: "currentColor",
    MAIN: "var(--wl-value, #3f51b5)",
    FAIL: "var(--wl-fail, #b3261e)",
}
POINTS_WIDE = 340
LETTER = 11.0
"""Points that a Japanese letter of a label is wide."""
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "workerlab",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
}
LINES = ((MAIN, "-", "o"), (INK, "--", "s"), (FAIL, ":", "^"))
"""Colour, dash and mark of each line: told apart without colour too."""
_idents = count(1)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A chart; the last expression of a cell shows it."""

    title: str
    description: str
    """What the chart shows, in words; screen readers read it."""
    svg: str

    def __repr__(self) -> str:
        return f"{self.title}: {self.description}"

    def _repr_html_(self) -> str:
        return figure(self.svg, self.title)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Something that lasted, in a row of `spans`."""

    row: str
    start: float
    end: float
    label: str = ""
    failed: bool = False


def bars(
    values: Mapping[str, float],
    *,
    title: str,
    unit: str,
    expected: float | None = None,
    expected_label: str = "正しい数",
) -> Picture:
    """One bar for each name, with its number written beside it.

    Args:
        unit: What the numbers count (Japanese), along the axis.
        expected: Draws a dashed line there.
    """
    with matplotlib.rc_context(SETTINGS):
        drawing, axes = _paper(0.7 + 0.36 * max(len(values), 2), left=_room(values))
        places = range(len(values))
        axes.barh(places, list(values.values()), height=0.6, color=MAIN)
        axes.set_yticks(list(places), list(values))
        axes.invert_yaxis()
        most = max([*values.values(), expected or 0, 1])
        for place, value in zip(places, values.values(), strict=True):
            covered = expected is not None and value <= expected < value + 0.16 * most
            at = expected if covered else value  # beside the dashed line, not on it
            axes.annotate(
                number(value), (at, place), (4, 0), textcoords="offset points", va="center"
            )
        _finish_bars(axes, most, unit)
        if expected is not None:
            axes.axvline(expected, color=INK, linestyle=(0, (2, 3)), linewidth=1)
            axes.set_title(f"点線 = {expected_label} {number(expected)}", fontsize=10)
        told = "、".join(f"{name}は {number(value)}" for name, value in values.items())
        line = "" if expected is None else f"{expected_label}は {number(expected)}。"
        return _picture(drawing, title, f"{unit}。{told}。{line}")


def lines(
    at: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    along: str,
    unit: str,
    expected: float | None = None,
    expected_label: str = "正しい数",
) -> Picture:
    """Each series against *at*; its name stands above the chart with its mark.

    Args:
        along: What *at* is (Japanese).
        unit: What the numbers count (Japanese).
    """
    with matplotlib.rc_context(SETTINGS):
        drawing, axes = _paper(3.1, left=0.18, top=0.3 + 0.24 * len(series))
        for (name, values), (colour, dash, mark) in zip(series.items(), LINES, strict=False):
            axes.plot(at, values, color=colour, linestyle=dash, marker=mark, label=name)
        if expected is not None:
            axes.axhline(
                expected, color=INK, linestyle=(0, (2, 3)), linewidth=1, label=expected_label
            )
        axes.set_ylim(bottom=0)
        axes.set_xticks(list(at), [number(value) for value in at])
        axes.set_xlabel(along)
        axes.annotate(  # above the numbers that it counts, and upright
            unit,
            (0, 1),
            (-4, 8),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
        )
        _legend(axes)
        told = "。".join(
            f"{name}は、{along} {number(at[0])} から {number(at[-1])} の順に "
            + "、".join(number(value) for value in values)
            for name, values in series.items()
        )
        line = "" if expected is None else f"。{expected_label}は {number(expected)}"
        return _picture(drawing, title, f"{unit}。{told}{line}。")


def spans(
    parts: Sequence[Span], *, title: str, marks: Mapping[str, float] | None = None
) -> Picture:
    """A row for each name, time to the right.

    Args:
        marks: Moments by name; a dashed line each.
    """
    rows = list(dict.fromkeys(part.row for part in parts))
    moments = dict(marks or {})
    with matplotlib.rc_context(SETTINGS):
        drawing, axes = _paper(0.95 + 0.5 * len(rows), left=_room(rows), top=0.3)
        for part in parts:
            place = rows.index(part.row)
            axes.barh(
                place,
                max(part.end - part.start, 0.005),
                left=part.start,
                height=0.5,
                color="none" if part.failed else MAIN,
                edgecolor=FAIL if part.failed else MAIN,
                hatch="////" if part.failed else None,
            )
            if part.label:
                axes.annotate(
                    part.label, (part.start, place - 0.28), (1, 1), textcoords="offset points",
                    va="bottom", fontsize=9,
                )  # fmt: skip
        for at in moments.values():
            axes.axvline(at, color=FAIL, linestyle=(0, (4, 2)), linewidth=1.2)
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.5, -0.8)
        axes.set_xlim(left=0)
        axes.set_xlabel("秒")
        for name, at in moments.items():
            axes.annotate(name, (at, -0.8), (2, 3), textcoords="offset points", fontsize=9)
        told = "。".join(
            f"{part.row}{f'（{part.label}）' if part.label else ''}は"
            f" {part.start:.2f} 秒から {part.end:.2f} 秒"
            for part in parts
        )
        also = "".join(f"{name}は {at:.2f} 秒。" for name, at in moments.items())
        return _picture(drawing, title, f"{told}。{also}")


def history(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    unit: str,
    description: str,
    minutes: float,
    marks: Mapping[str, float] | None = None,
    limit: tuple[str, float] | None = None,
    alarms: Sequence[tuple[float, float]] = (),
) -> Picture:
    """Values that somebody has read again and again, over *minutes*.

    Args:
        series: By name, moments (minutes) and values; a pause of more than one is a gap.
        unit: What the numbers count (Japanese).
        description: What is to be seen, in words: there are too many numbers to say all.
        marks: Moments by their short name; a dotted line each.
        limit: Name and value of a dashed line across.
        alarms: From when to when the alarm of this chart rang.
    """
    with matplotlib.rc_context(SETTINGS):
        entries = len(series) + bool(limit) + bool(alarms)
        drawing, axes = _paper(2.6 + 0.2 * entries, left=0.15, top=0.34 + 0.22 * entries)
        for (name, points), (colour, dash, _) in zip(series.items(), LINES, strict=False):
            moments, values = _with_gaps(points)
            axes.plot(moments, values, color=colour, linestyle=dash, linewidth=1.8, label=name)
        if limit:
            axes.axhline(
                limit[1], color=INK, linestyle=(0, (2, 3)), linewidth=1, label=limit[0]
            )
        for place, (start, end) in enumerate(alarms):
            axes.axvspan(
                start, end, facecolor="none", edgecolor=FAIL, hatch="///", linewidth=0.8,
                label="" if place else "警報が鳴っている間",
            )  # fmt: skip
        for at in (marks or {}).values():
            axes.axvline(at, color=INK, linestyle=(0, (1, 2)), linewidth=1)
        axes.set_ylim(bottom=0)
        axes.margins(y=0.15)
        axes.set_xlim(0, minutes)
        whole = axes.get_ylim()[1] > 3
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=whole))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_xlabel("分")
        for name, at in (marks or {}).items():
            axes.annotate(
                name, (at, 1), (0, 3), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="center", fontsize=10,
            )  # fmt: skip
        _legend(axes, lift=0.34 / (drawing.get_figheight() - 0.86 - 0.22 * entries) * 0.6)
        return _picture(drawing, title, f"{unit}。{description}")


def _with_gaps(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Moments and values; where there are none for more than a minute, the line breaks."""
    moments: list[float] = []
    values: list[float] = []
    for moment, value in points:
        if moments and moment - moments[-1] > 1:
            moments.append(moment)
            values.append(float("nan"))
        moments.append(moment)
        values.append(value)
    return moments, values


def _room(labels: Iterable[str]) -> float:
    """The part of the width that the longest label at the left takes."""
    wide = {"W", "F"}
    widths = (
        sum(1.0 if unicodedata.east_asian_width(letter) in wide else 0.6 for letter in label)
        for label in labels
    )
    return (LETTER * max(widths, default=0.0) + 14) / POINTS_WIDE


def _paper(inches: float, *, left: float, top: float = 0.26) -> tuple[Figure, Axes]:
    """A drawing as wide as the timelines, *inches* high, with room for labels at the left."""
    drawing = Figure(figsize=(POINTS_WIDE / 72, inches), dpi=72)
    bottom = 0.52 / inches
    axes = drawing.add_axes((left, bottom, 0.9 - left, 1 - bottom - top / inches))
    return drawing, axes


def _finish_bars(axes: Axes, most: float, unit: str) -> None:
    axes.set_xlim(0, most * 1.08)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=most > 3))
    axes.set_xlabel(unit)
    axes.tick_params(axis="y", length=0)


def _legend(axes: Axes, lift: float = 0.0) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1 + lift),
        frameon=False,
        borderaxespad=0,
        labelspacing=0.3,
        handlelength=2.6,
        fontsize=10,
    )


def _picture(drawing: Figure, title: str, description: str) -> Picture:
    stream = io.StringIO()
    with warnings.catch_warnings():  # its own font has no Japanese, and is not shown
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        drawing.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    svg = _inline(stream.getvalue(), title, description)
    return Picture(title=title, description=description, svg=svg)


def _inline(text: str, title: str, description: str) -> str:
    """What matplotlib wrote, fit to stand inside a page."""
    ident = f"wl-plot-{next(_idents)}"
    root = ET.fromstring(text)
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _restyle(element)
        _rename(element, ident)
    attributes = {
        "class": "wl-plot",
        "role": "img",
        "viewBox": root.get("viewBox", ""),
        "aria-labelledby": f"{ident}-t {ident}-d",
        "font-family": "system-ui, sans-serif",
        "stroke-linejoin": "round",
    }
    root.attrib.clear()
    root.attrib.update(attributes)
    for place, (name, words) in enumerate((("title", title), ("desc", description))):
        told = ET.Element(f"{{{SVG}}}{name}", {"id": f"{ident}-{name[0]}"})
        told.text = words
        root.insert(place, told)
    ET.register_namespace("", SVG)
    written = ET.tostring(root, encoding="unicode")
    written = re.sub(r">\s+<", "><", written)
    for stand_in, colour in COLOURS.items():
        written = written.replace(stand_in, colour)
    return written


def _restyle(element: ET.Element) -> None:
    """Turn the ``style`` attribute into attributes of its own."""
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":
            size = re.search(r"([\d.]+)px", value)
            assert size is not None, value
            name, value = "font-size", size[1]
        if name and name != "font-family":
            element.set(name, value)


def _rename(element: ET.Element, ident: str) -> None:
    """Ids of its own for each chart of a page; ids that nothing points to go."""
    kept = re.compile(r"^[mphc][0-9a-f]{10}|^C\d+_")
    name = element.attrib.pop("id", "")
    if kept.match(name):
        element.set("id", f"{ident}-{name}")
    target = element.attrib.pop(f"{{{XLINK}}}href", "")
    if target:
        element.set("href", f"#{ident}-{target.removeprefix('#')}")
    for key, value in list(element.items()):
        element.set(key, re.sub(r"url\(#", f"url(#{ident}-", value))
