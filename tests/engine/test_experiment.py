"""Experiment: relations, verdicts, and what counts as a result."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from helpers import APPS
from workerlab import stage
from workerlab.cluster import Cluster
from workerlab.errors import TrafficError
from workerlab.experiment import Experiment, Invariant, Relation, judge, number, run
from workerlab.servers import SERVERS
from workerlab.trace import Exchange, Trace


def invariant(observed: float, relation: Relation = "==", **fields: float) -> Invariant:
    return Invariant(
        name="n",
        label="数",
        observe=lambda trace: observed,
        relation=relation,
        expected=fields.get("expected", 10),
        tolerance=fields.get("tolerance", 0),
        why="理由",
    )


@pytest.mark.parametrize(
    ("relation", "observed", "tolerance", "holds"),
    [
        ("==", 10, 0, True),
        ("==", 11, 0, False),
        ("==", 11, 1, True),
        ("<=", 10, 0, True),
        ("<=", 11, 0, False),
        (">=", 10, 0, True),
        (">=", 9, 0, False),
        ("==", math.nan, 0, False),
        ("<=", math.nan, 0, False),
        (">=", math.nan, 0, False),
    ],
)
def test_relation(relation: Relation, observed: float, tolerance: float, holds: bool) -> None:
    """A relation holds within its tolerance, and never for a number that is not there."""
    verdict = invariant(observed, relation, tolerance=tolerance).judge(Trace())
    assert verdict.holds is holds


@pytest.mark.parametrize(
    ("relation", "tolerance", "text"),
    [("==", 0, "= 10"), ("<=", 0, "≤ 10"), (">=", 0, "≥ 10"), ("==", 2, "= 10 ± 2")],
)
def test_requirement_is_readable(relation: Relation, tolerance: float, text: str) -> None:
    """The table shows what the verdict compares."""
    assert invariant(0, relation, tolerance=tolerance).requirement == text


def test_number_is_readable() -> None:
    """Integers have no point; a missing number is a dash."""
    assert [number(1000.0), number(0.5), number(math.nan)] == ["1000", "0.50", "―"]


def test_environment_reaches_the_app_and_a_service_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An experiment's variables replace the shell's; those of a service can't be replaced."""
    app = tmp_path / "shows_variables.py"
    app.write_text(
        "import os\nfrom fastapi import FastAPI\n\napp = FastAPI()\n\n\n"
        "@app.get('/{name}')\ndef read(name: str) -> dict[str, int]:\n"
        "    return {'value': len(os.environ[name])}\n"
    )

    async def ask(cluster: Cluster) -> None:
        for name in ("GIVEN", "DATA_DIR"):
            await cluster.request("GET", f"/{name}", step=name, value="value")

    monkeypatch.setenv("GIVEN", "from the shell")
    experiment = Experiment(
        topic="t",
        title="環境変数",
        traffic=ask,
        requests=2,
        invariants=(),
        needs=frozenset({"files"}),
        environment={"GIVEN": "x" * 40, "DATA_DIR": ""},
    )
    trace = asyncio.run(stage.play(experiment, str(app), workers=1)).trace
    assert [e.value for e in trace.step("GIVEN")] == [40]
    (folder,) = trace.step("DATA_DIR")
    assert folder.value is not None
    assert folder.value > 0


@pytest.mark.parametrize("server", SERVERS)
def test_restart_changes_workers_and_variables_on_the_same_address(
    tmp_path: Path, server: str
) -> None:
    """A deployment: other processes, the environment that was given, no failed request."""
    app = tmp_path / "shows_variable.py"
    app.write_text(
        "import os\nfrom fastapi import FastAPI\n\napp = FastAPI()\n\n\n"
        "@app.get('/')\ndef read() -> dict[str, int]:\n"
        "    return {'value': int(os.environ['GIVEN'])}\n"
    )
    seen: list[list[int]] = []

    async def deploy(cluster: Cluster) -> None:
        for environment in ({}, None, {"GIVEN": "2"}):
            if seen:
                await cluster.restart(environment)
            seen.append(await cluster.workers())
            await cluster.request("GET", "/", step="read", value="value")

    experiment = Experiment(
        topic="t",
        title="デプロイ",
        traffic=deploy,
        requests=3,
        invariants=(),
        environment={"GIVEN": "1"},
    )
    trace = asyncio.run(stage.play(experiment, str(app), server=server, workers=2)).trace
    assert [e.value for e in trace.exchanges] == [1, 1, 2]
    assert len({pid for pids in seen for pid in pids}) == 6
    assert [e.kind for e in trace.events] == ["server_restarted"] * 2


@pytest.mark.parametrize("server", SERVERS)
def test_paused_parent_lets_its_workers_serve_and_ends_all_the_same(server: str) -> None:
    """SIGSTOP and SIGCONT reach it; a block that ends while it is paused leaves nothing."""

    async def look() -> list[int]:
        async with SERVERS[server](str(APPS / "echo_port.py"), workers=2) as cluster:
            parent = psutil.Process(cluster.supervisor)
            for _ in range(2):
                await cluster.pause_supervisor()
                await reaches(parent, lambda status: status == psutil.STATUS_STOPPED)
                assert (await cluster.request("GET", "/port", step="ask")).ok
                await cluster.resume_supervisor()
                await reaches(parent, lambda status: status != psutil.STATUS_STOPPED)
            assert [e.kind for e in cluster.trace.events] == [
                *("supervisor_paused", "supervisor_resumed") * 2
            ]
            await cluster.pause_supervisor()
            return [cluster.supervisor, *await cluster.workers()]

    pids = asyncio.run(look())
    left = [process for process in psutil.process_iter() if process.pid in pids]
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in left)


async def reaches(process: psutil.Process, wanted: Callable[[str], bool]) -> None:
    """A signal is delivered soon after it was sent, not at once."""
    async with asyncio.timeout(30):
        while not wanted(process.status()):
            await asyncio.sleep(0.01)


def test_every_start_has_an_empty_folder_that_its_workers_share(tmp_path: Path) -> None:
    """What one start leaves in RUNTIME_DIRECTORY, the next one does not see."""
    app = tmp_path / "counts_files.py"
    app.write_text(
        "import os\nfrom pathlib import Path\nfrom fastapi import FastAPI\n\n"
        "folder = Path(os.environ['RUNTIME_DIRECTORY'])\n"
        "(folder / str(os.getpid())).touch()\napp = FastAPI()\n\n\n"
        "@app.get('/')\ndef read() -> dict[str, int]:\n"
        "    return {'files': len(list(folder.iterdir()))}\n"
    )

    async def look_twice(cluster: Cluster) -> None:
        await cluster.request("GET", "/", step="read", value="files")
        await cluster.restart()
        await cluster.request("GET", "/", step="read", value="files")

    experiment = Experiment(
        topic="t", title="起動", traffic=look_twice, requests=2, invariants=()
    )
    trace = asyncio.run(stage.play(experiment, str(app), workers=2)).trace
    assert [e.value for e in trace.exchanges] == [2, 2]


class Scripted:
    """A cluster that answers what it is told."""

    def __init__(self, *answers: tuple[int | None, int | None]) -> None:
        self.trace = Trace()
        self.answers = iter(answers)

    async def request(self, method: str, path: str, *, step: str, **rest: object) -> Exchange:
        worker, status = next(self.answers)
        error = None if status else "ConnectionResetError"
        return self.trace.add(
            Exchange(step=step, worker=worker, start=0, end=0, status=status, error=error)
        )


def experiment(requests: int, **fields: object) -> Experiment:
    async def traffic(cluster: object) -> None:
        for _ in range(requests):
            await cluster.request("GET", "/", step="look")  # type: ignore[attr-defined]

    return Experiment(
        topic="t",
        title="題",
        traffic=traffic,
        requests=requests,
        invariants=(invariant(10),),
        **fields,  # type: ignore[arg-type]
    )


def play(answers: list[tuple[int | None, int | None]], **fields: object):  # type: ignore[no-untyped-def]
    return asyncio.run(run(experiment(len(answers), **fields), Scripted(*answers)))  # type: ignore[arg-type]


def test_two_workers_make_a_result() -> None:
    """Two workers that answered are a proof."""
    result = play([(1, 200), (2, 200)])
    assert result.conclusive
    assert result.holds


def test_one_worker_makes_no_result() -> None:
    """Whatever the numbers say, one worker proves nothing."""
    assert not play([(1, 200), (1, 200)]).conclusive


def test_unanswered_request_ends_the_run() -> None:
    """A broken connection is not counted as a violated invariant."""
    with pytest.raises(TrafficError, match="2 件のうち 1 件"):
        play([(1, 200), (None, None)])


def test_unanswered_request_can_be_the_lesson() -> None:
    """An experiment about losses gets its losses to judge."""
    assert play([(1, 200), (2, 200), (None, None)], may_lose_requests=True).conclusive


def test_wrong_routes_are_not_a_verdict() -> None:
    """An app without the routes is told so."""
    with pytest.raises(TrafficError, match="404"):
        play([(1, 404), (2, 405)])


async def fail(error: Exception) -> None:
    raise error


def test_error_inside_a_task_group_is_told_as_it_is() -> None:
    """One line for the reader, not a group of groups."""

    async def traffic(cluster: Cluster) -> None:
        async with asyncio.TaskGroup() as outer, asyncio.TaskGroup() as inner:
            outer.create_task(asyncio.sleep(0))
            inner.create_task(fail(TrafficError("だれも集計していません。")))

    with pytest.raises(TrafficError, match="だれも集計していません。"):
        asyncio.run(run(replace(experiment(0), traffic=traffic), Scripted()))


def test_error_of_another_kind_keeps_its_traceback() -> None:
    """What is no message for the reader stays whole."""

    async def traffic(cluster: Cluster) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail(TrafficError("理由")))
            group.create_task(fail(ZeroDivisionError()))

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run(replace(experiment(0), traffic=traffic), Scripted()))
    assert {type(error) for error in caught.value.exceptions} == {
        TrafficError,
        ZeroDivisionError,
    }


def test_verdict_of_nothing_is_null_in_json() -> None:
    """JSON knows no nan."""
    trace = Trace()
    result = judge(experiment(0), trace)
    assert result.to_dict()["invariants"][0]["observed"] == 10
    nothing = invariant(math.nan).judge(trace).to_dict()
    assert nothing["observed"] is None
    assert nothing["holds"] is False
