"""who_answers: nobody hands out connections, so what all must know is put where all look."""

import asyncio
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from contract import ANY, FOUR, broken, drills, play, rotated_fakes
from workerlab import catalog, stage
from workerlab.catalog import ROOT
from workerlab.cluster import burst
from workerlab.experiment import Result
from workerlab.servers import SERVERS
from workerlab.trace import count_by_worker

SLUG = "who_answers"
TOPIC = catalog.find(SLUG)
servers = pytest.mark.parametrize(("server", "workers"), FOUR)
each_server = pytest.mark.parametrize("server", SERVERS)


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@servers
def test_bad_reloads_the_same_worker_four_times(server: str, workers: int) -> None:
    """The parent plays no part, every worker answers, and one connection is one worker."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"stale"}
    calls = result.trace.step("reload")
    scripts = [calls[first : first + 4] for first in range(0, len(calls), 4)]
    assert [len(count_by_worker(script)) for script in scripts] == [1] * 5


@servers
def test_good_answers_anew_whoever_was_told(server: str, workers: int) -> None:
    """The script still meets a single worker, and all know."""
    result = play(SLUG, "good", server, workers)
    assert broken(result) == set()
    assert all(e.ok for e in result.trace.exchanges)


@pytest.mark.parametrize(("fake", "server"), rotated_fakes(SLUG))
def test_fake_is_caught(fake: str, server: str) -> None:
    """Other connections are no rota, and a Value made in each worker is none of the others'."""
    result = play(SLUG, fake, server, 4)
    assert broken(result) == {"stale"}
    if fake == "connection_close":
        assert len(count_by_worker(result.trace.step("reload"))) > 1


@each_server
@pytest.mark.parametrize("drill", drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """Without the parent a dead worker stays dead; a paused one keeps its connections."""
    assert broken(play(SLUG, "good", server, 4, TOPIC.drill(drill))) == set()


@pytest.mark.parametrize("drill", drills(SLUG))
def test_bad_breaks_the_drill(drill: str) -> None:
    """Each drill can fail."""
    assert "current" in broken(play(SLUG, "bad", ANY, 4, TOPIC.drill(drill)))


# -- what the page says besides ---------------------------------------------------------------


@each_server
def test_workers_are_children_of_one_parent_that_answers_nothing(
    server: str, tmp_path: Path
) -> None:
    """Of 80 answers over new connections none is the parent's, and the order is no rota."""

    async def ask() -> tuple[int, list[int], list[int | None]]:
        folder = {"DATA_DIR": str(tmp_path)}
        server_of = SERVERS[server](TOPIC.app("good"), workers=4, cwd=ROOT, environment=folder)
        async with server_of as cluster:
            answers = await burst(cluster, 80, "GET", "/docs", step="ask", concurrency=1)
            return (
                cluster.supervisor,
                parents(await cluster.workers()),
                [answer.worker for answer in answers],
            )

    parent, above, answering = asyncio.run(ask())
    assert set(above) == {parent}
    assert parent not in answering
    rota = answering[:4] * 20
    assert answering != rota


def parents(pids: list[int]) -> list[int]:
    return [psutil.Process(pid).ppid() for pid in pids]


def in_this_process(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *changes: tuple[str, str]
) -> ModuleType:
    """good.py, with some text replaced, to look at what it does between two steps."""
    monkeypatch.setenv("DATA_DIR", str(folder))
    source = (TOPIC.folder / "good.py").read_text(encoding="utf-8")
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return module_from(folder / "good_in_process.py", source)


def module_from(path: Path, source: str) -> ModuleType:
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FEES_FIRST = (
    (
        "        number = edition(db)  # 版を先に読む。",
        "        # ",
    ),
    ("    loaded = number", "        number = edition(db)\n    loaded = number"),
)


@pytest.mark.parametrize(("changes", "yen"), [((), 900), (FEES_FIRST, 100)])
def test_edition_is_read_before_the_fees(
    changes: tuple[tuple[str, str], ...],
    yen: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Who publishes between the two is noticed; in the other order never."""
    good = in_this_process(monkeypatch, tmp_path, *changes)
    read: Callable[..., int] = good.edition

    def publish_meanwhile(*args: object) -> int:
        monkeypatch.setattr(good, "edition", read)
        number = read(*args)
        good.change_fee("tokyo", good.Fee(yen=900))
        good.reload()
        return read(*args) if changes else number

    monkeypatch.setattr(good, "edition", publish_meanwhile)
    good.load()
    assert good.read_fee("tokyo")["yen"] == yen


def test_change_shows_after_the_reload_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a running worker; one that starts in between shows the draft, as the page admits."""
    good = in_this_process(monkeypatch, tmp_path)
    good.change_fee("tokyo", good.Fee(yen=900))
    assert good.read_fee("tokyo")["yen"] == 100
    assert in_this_process(monkeypatch, tmp_path).read_fee("tokyo")["yen"] == 900
    good.reload()
    assert good.read_fee("tokyo")["yen"] == 900


def test_new_connections_do_not_reach_four_workers_in_four_calls(tmp_path: Path) -> None:
    """Without keep-alive the calls spread, and still leave somebody out sooner or later."""
    source = (TOPIC.folder / "experiment.py").read_text(encoding="utf-8")
    changed = source.replace("await script.request", "await cluster.request")
    assert changed != source
    module = module_from(tmp_path / "new_connections.py", changed)
    result = asyncio.run(stage.play(module.EXPERIMENT, TOPIC.app("bad"), workers=4))
    assert "stale" in broken(result)
