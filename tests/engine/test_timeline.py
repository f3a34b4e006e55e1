"""timeline: an SVG that says in words and shapes what it shows in colour."""

import xml.etree.ElementTree as ET

import pytest

from workerlab.timeline import timeline
from workerlab.trace import Exchange, Trace

SVG = "{http://www.w3.org/2000/svg}"


def trace_of(*rows: tuple[int | None, float, int | None, float | None]) -> Trace:
    trace = Trace()
    for worker, end, status, value in rows:
        trace.add(
            Exchange(step="s", worker=worker, start=0, end=end, status=status, value=value)
        )
    return trace


def draw(trace: Trace, **options: object) -> ET.Element:
    return ET.fromstring(timeline(trace, title="題 <1>", ident="x", **options))  # type: ignore[arg-type]


def lanes(svg: ET.Element) -> list[ET.Element]:
    return svg.findall(f"{SVG}g[@class='wl-lane']")


def test_one_lane_per_worker_with_its_count_and_last_value() -> None:
    """Each worker that answered has a lane that carries its numbers as text."""
    svg = draw(trace_of((7, 0.1, 200, 1), (9, 0.2, 200, 1), (9, 0.3, 200, 2)))
    texts = [[t.text for t in lane.iter(f"{SVG}text")] for lane in lanes(svg)]
    assert texts == [["ワーカー 1", "1 件", "1"], ["ワーカー 2", "2 件", "2"]]


def test_it_has_a_name_and_a_description() -> None:
    """A screen reader hears the title and the numbers."""
    svg = draw(trace_of((7, 0.1, 200, 41), (9, 0.2, 200, 42), (None, 0.3, None, None)))
    assert svg.get("role") == "img"
    named = svg.get("aria-labelledby", "").split()
    words = {e.get("id"): e.text for e in svg if e.get("id") in named}
    assert words["x-t"] == "題 <1>"
    description = words["x-d"] or ""
    for part in (
        "2 個のワーカープロセス",
        "最後に返した値は 42",
        "答えのなかったリクエストは 1 件",
    ):
        assert part in description


def test_failures_have_a_shape_of_their_own() -> None:
    """A failed answer and a lost request are crosses, not only another colour."""
    healthy = draw(trace_of((7, 0.1, 200, 1)))
    failing = draw(trace_of((7, 0.1, 200, 1), (7, 0.2, 500, None), (None, 0.3, None, None)))
    assert healthy.findall(f".//{SVG}path[@class='wl-fail']") == []
    assert len(failing.findall(f".//{SVG}path[@class='wl-fail']")) == 2


def test_partial_trace_keeps_lanes_and_scale() -> None:
    """While a run goes on, lanes are given and the picture does not jump."""
    svg = draw(trace_of((9, 0.1, 200, 1)), lanes=[7, 9], duration=2.0, expected=1000)
    assert [lane.get("data-worker") for lane in lanes(svg)] == ["7", "9"]
    assert any(t.text == "2.00 秒" for t in svg.iter(f"{SVG}text"))


def test_empty_trace_is_still_a_picture() -> None:
    """Nothing happened yet, nothing breaks."""
    assert lanes(draw(Trace())) == []


def test_killed_worker_is_marked_in_its_lane() -> None:
    """An event of a worker stands in its lane with its word."""
    trace = trace_of((7, 0.1, 200, 1))
    trace.note("worker_killed", worker=7, detail="kill -9")
    assert any(t.text == "kill -9" for t in draw(trace).iter(f"{SVG}text"))


def test_single_value_is_drawn() -> None:
    """A line of one point would draw nothing: it gets a second one beside it."""
    line = draw(trace_of((7, 0.1, 200, 0))).find(f".//{SVG}polyline")
    assert line is not None
    assert len(line.get("points", "").split()) == 2


def test_values_stay_inside_the_lane() -> None:
    """The largest value is drawn at the expected line, none above its lane."""
    svg = draw(trace_of((7, 0.1, 200, 500), (7, 0.2, 200, 1000)), expected=1000)
    line = svg.find(f".//{SVG}polyline")
    assert line is not None
    heights = [float(p.split(",")[1]) for p in line.get("points", "").split()]
    dashes = [p for p in svg.iter(f"{SVG}path") if p.get("stroke-dasharray")]
    expected_at = float(dashes[0].get("d", "").split()[1].split("H")[0])
    assert min(heights) == pytest.approx(expected_at, abs=0.6)
