"""Every page with a lab: bad breaks, good holds, and each drill ends as its page says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="needs Playwright for Python")

from lab_site import CHROMIUM, LABS, Reader, build_site, chromium, lesson, reading, serving
from playwright.sync_api import Browser, expect

from workerlab.catalog import ROOT, find

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),  # a busy machine takes long to start browsers and workers
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium"),
    pytest.mark.skipif(
        not (ROOT / "docs/assets/lab/runtime/manifest.json").exists(), reason="needs make lab"
    ),
]
DRILLS = [(topic, drill) for topic in LABS for drill in find(topic).drills]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("topics")
    with serving(folder / "site") as address:
        build_site(folder, address)
        yield address


@pytest.fixture(scope="module")
def visitor(browser: Browser, url: str) -> Iterator[Reader]:
    """One profile for all topics: the runtime is downloaded once."""
    with reading(browser, url) as opened:
        yield opened


def page_of(topic: str) -> str:
    return str(LABS[topic]).removesuffix(".md") + "/"


def test_labs_are_on_several_pages() -> None:
    """The search for pages with a lab finds them."""
    assert len(LABS) >= 4


@pytest.mark.parametrize("topic", LABS)
def test_bad_breaks_and_good_holds(visitor: Reader, topic: str) -> None:
    """The topic's own files run unmodified under four workers: red, and green."""
    lab = visitor.open(page_of(topic)).choose("bad.py", workers=4)
    assert lab.run() == "broken", lab.frame.inner_text()
    lab.choose("good.py")
    assert lab.run() == "holds", lab.frame.inner_text()


@pytest.mark.parametrize(("topic", "drill"), DRILLS)
def test_drill_ends_as_the_page_says(visitor: Reader, topic: str, drill: str) -> None:
    """A drill is chosen by its title, brings its own table, and good.py ends as recorded."""
    experiment = find(topic).drill(drill)
    offered = {name: (label, playable) for name, label, playable in lesson(topic)["drills"]}
    assert offered[drill] == (experiment.title, True)
    lab = visitor.open(page_of(topic)).choose("good.py", workers=4).play(experiment.title)
    rows = lab.host.get_by_role("table").locator("tbody tr")
    expect(rows).to_have_count(len(experiment.invariants))
    for invariant, row in zip(experiment.invariants, rows.all(), strict=True):
        expect(row).to_contain_text(invariant.label)
        expect(row).to_contain_text("○")  # recorded
    assert lab.run() == "holds", lab.frame.inner_text()
    assert len(lab.observed()) == len(experiment.invariants)
