"""notebook: a run that draws itself, servers that live between cells, and their end."""

import asyncio

import psutil
import pytest

from workerlab import notebook
from workerlab.cluster import burst
from workerlab.errors import AppError, UnknownTopicError
from workerlab.notebook import Lab, Missing, lock_spans
from workerlab.trace import Trace


def test_run_shows_its_timeline_and_its_verdicts() -> None:
    """The last expression of a cell is a picture and a table; the numbers have names."""
    run = asyncio.run(Lab(workers=2).run("per_process_cache"))
    shown = run._repr_html_()
    assert "wl-timeline" in shown
    assert shown.count("<tr>") == 1 + len(run.result.verdicts)
    assert not run.holds
    assert run.broken
    assert run[run.broken[0]] == run[run.broken[0]]  # a number, and not nan
    with pytest.raises(UnknownTopicError, match=run.broken[0]):
        run["no_such_name"]
    assert "PID" in repr(run.plot())
    assert "× 破れた" in repr(run)


def test_open_server_lives_until_close() -> None:
    """Cells send requests to it; `close` ends it, and does no harm when called again."""

    async def cells() -> tuple[int, str, str, list[int]]:
        lab = Lab(workers=2)
        server = await lab.open("who_answers")
        pids = [server.supervisor, *await server.workers()]
        await burst(server, 8, "GET", "/fees/tokyo", step="fee")
        assert "wl-timeline" in notebook.look(server, "題")._repr_html_()
        assert notebook.cpu_seconds(server) > 0
        assert notebook.memory_megabytes(server) > 20
        return (
            len(server.trace.exchanges),
            repr(await lab.close()),
            repr(await lab.close()),
            pids,
        )

    count, first, second, pids = asyncio.run(cells())
    assert count == 8
    assert first.startswith("1 個のサーバーを止めました")
    assert second == "動いているサーバーはありません。"
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_exit_handler_needs_no_event_loop() -> None:
    """A kernel that ends without the last cell: no loop runs, and the processes go too."""
    lab = Lab(workers=2)

    async def cell() -> list[int]:
        server = await lab.open("who_answers")
        return [server.supervisor, *await server.workers()]

    with asyncio.Runner() as runner:
        pids = runner.run(cell())
        assert all(psutil.pid_exists(pid) for pid in pids)
        lab._end()
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert repr(runner.run(lab.close())).startswith("1 個")  # does no harm afterwards


def test_number_of_workers_adapts(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least four, as the experiments are meant; at most eight; else one for each CPU."""
    for cpus, workers in ((2, 4), (4, 4), (6, 6), (16, 8), (None, 4)):
        monkeypatch.setattr("os.cpu_count", lambda cpus=cpus: cpus)
        assert Lab().workers == workers


def test_missing_service_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook stops where PostgreSQL is missing, and says how to get it."""
    monkeypatch.setattr("workerlab.services.missing", lambda needs: sorted(needs))
    with pytest.raises(Missing, match="sudo apt install postgresql") as caught:
        Lab().require("pool_exhaustion")
    (line,) = caught.value._render_traceback_()
    assert line.startswith("ここで止まります。")
    monkeypatch.undo()
    Lab().require("in_memory_counter")


def test_unknown_version_is_named_with_those_there_are() -> None:
    """A typing error in a cell gets the list."""
    with pytest.raises(AppError, match=r"app_state"):
        asyncio.run(Lab().run("in_memory_counter", "appstate"))


def test_lock_spans_begin_when_the_lock_is_taken() -> None:
    """A growing remaining time is a new owner; none is a gap."""
    ticks = iter(range(100))
    trace = Trace(clock=lambda: next(ticks) / 10)
    for left in (0, 1000, 900, 100, 1000, 800, 0, 0, 500):
        trace.note("lock", detail="k", value=left)
    times = [(round(s.start, 1), round(s.end, 1)) for s in lock_spans(trace, row="r")]
    assert times == [(0.2, 0.4), (0.5, 0.7), (0.9, 0.9)]
