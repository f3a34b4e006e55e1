"""plot: charts that stand in a page, light and dark, with words for everybody."""

import re
import xml.etree.ElementTree as ET

import pytest

from workerlab.plot import Picture, Span, bars, history, lines, spans

SVG = "{http://www.w3.org/2000/svg}"


def pictures() -> list[Picture]:
    return [
        bars({"ワーカー 1": 120, "ワーカー 2": 80}, title="題", unit="件", expected=100),
        lines([1, 2], {"測った数": [9, 4], "予想": [9, 9]}, title="題", along="数", unit="人"),
        spans([Span(row="1 人目", start=0, end=2, failed=True)], title="題", marks={"期限": 1}),
        history(
            {"読んだ数": [(0, 1), (0.25, 3), (2, 2)]},
            title="題",
            unit="個",
            description="最大は 3 で、途切れている。",
            minutes=3,
            marks={"①": 1},
            limit=("上限", 2),
            alarms=[(1, 1.5), (2, 2.5)],
        ),
    ]


each = pytest.mark.parametrize("index", range(4), ids=["bars", "lines", "spans", "history"])


@each
def test_it_follows_the_page_and_its_policy(index: int) -> None:
    """No style attribute or element, no colour of its own but defaults, no fixed size."""
    svg = pictures()[index].svg
    assert "style" not in svg
    assert "currentColor" in svg
    assert set(re.findall(r"#[0-9a-f]{6}\b", svg)) <= {"#3f51b5", "#b3261e"}
    root = ET.fromstring(svg)
    assert (root.get("width"), root.get("viewBox", "")[:8]) == (None, "0 0 340 ")


@each
def test_text_is_text(index: int) -> None:
    """Japanese is written as letters, which the reader's own fonts show, not as shapes."""
    texts = {
        "".join(t.itertext()) for t in ET.fromstring(pictures()[index].svg).iter(SVG + "text")
    }
    assert texts & {"ワーカー 1", "測った数", "1 人目", "読んだ数"}


@each
def test_it_has_a_name_and_says_its_numbers(index: int) -> None:
    """A screen reader hears the title and every number; so does who has no pictures."""
    picture = pictures()[index]
    root = ET.fromstring(picture.svg)
    assert root.get("role") == "img"
    words = {e.get("id"): e.text or "" for e in root}
    title, description = (words[i] for i in root.get("aria-labelledby", "").split())
    assert title == "題"
    assert description == picture.description
    for number in (("120", "80", "100"), ("9", "4"), ("2.00", "1.00"), ("3",))[index]:
        assert number in description
    assert repr(picture) == f"題: {description}"


def test_two_charts_of_a_page_share_no_id() -> None:
    """Also two equal ones: clips and marks of one must not point into the other."""
    ids = [i for p in [*pictures(), *pictures()] for i in re.findall(r' id="([^"]+)"', p.svg)]
    assert len(ids) == len(set(ids))
    for picture in pictures():
        own = set(re.findall(r' id="([^"]+)"', picture.svg))
        pointed = set(re.findall(r'(?:href="#|url\(#)([^")]+)', picture.svg))
        assert pointed <= own
