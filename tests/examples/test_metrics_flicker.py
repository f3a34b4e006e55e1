"""metrics_flicker: each worker shows its own counters; files in one directory show the sum."""

import asyncio
import contextlib
import dataclasses
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from prometheus_client.multiprocess import mark_process_dead
from prometheus_client.values import MultiProcessValue

from contract import ANY, FOUR, broken, play, rotated_drills, rotated_fakes
from workerlab import catalog, stage
from workerlab.cluster import Cluster, burst
from workerlab.experiment import Experiment, Result
from workerlab.trace import Trace

SLUG = "metrics_flicker"
TOPIC = catalog.find(SLUG)
EXPERIMENT = TOPIC.experiment
DRILL = TOPIC.drill("busy_workers_killed")
servers = pytest.mark.parametrize(("server", "workers"), FOUR)


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


@servers
def test_bad_shows_another_counter_at_each_scrape(server: str, workers: int) -> None:
    """The counter falls, is too small, and increase() adds up what never was."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"decreases", "counted", "increase", "restarted"}
    assert observed(result, "increase") > 100  # each fall counts as a restart from 0


@servers
def test_good_counts_all_workers(server: str, workers: int) -> None:
    """One value whoever answers, the killed worker's orders included, and 0 at a new start."""
    assert broken(play(SLUG, "good", server, workers)) == set()


CAUGHT = {
    "set_after_import": {"decreases", "counted", "increase", "restarted"},
    "sum_of_live_workers": {"decreases", "counted", "increase"},
    "kept_directory": {"restarted"},
}


@pytest.mark.parametrize(("fake", "server"), rotated_fakes(SLUG))
def test_fake_is_caught(fake: str, server: str) -> None:
    """An empty page, a worker's orders that vanish, values of the start before."""
    result = play(SLUG, fake, server, 4)
    assert broken(result) == CAUGHT[fake]
    if fake == "kept_directory":
        assert observed(result, "restarted") == 250


@pytest.mark.parametrize(("drill", "server"), rotated_drills(SLUG))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """The dead keep their counters and, without a hook, their gauges too."""
    assert broken(play(SLUG, "good", server, 4, TOPIC.drill(drill))) == set()


def test_child_exit_forgets_the_gauges_of_the_dead() -> None:
    """gunicorn tells who died: the gauge is right again, the counter stays."""
    experiment = dataclasses.replace(
        DRILL, options=("--config=examples/metrics_flicker/child_exit_conf.py",)
    )
    result = play(SLUG, "good", "gunicorn-asgi", 4, experiment)
    assert broken(result) == {"gauge_after_kill"}
    assert observed(result, "gauge_after_kill") == 0


def test_importing_the_library_in_the_arbiter_is_too_early(tmp_path: Path) -> None:
    """gunicorn's workers inherit the import, and with it the choice that was made."""
    conf = tmp_path / "conf.py"
    conf.write_text("import prometheus_client\n", encoding="utf-8")
    experiment = dataclasses.replace(EXPERIMENT, options=(f"--config={conf}",))
    result = play(SLUG, "good", "gunicorn-asgi", 4, experiment)
    assert broken(result) == CAUGHT["set_after_import"]


def test_sweeping_forgets_the_gauges_of_the_dead_on_uvicorn() -> None:
    """Looking for dead process ids at each scrape does the same without a hook."""
    result = play(SLUG, "sweeping", ANY, 4, DRILL)
    assert broken(result) == {"gauge_after_kill"}
    assert observed(result, "gauge_after_kill") == 0


# -- FastAPI's own OpenTelemetry ----------------------------------------------------------


class Received:
    """The last cumulative value of each metric, by the identity of who sent it."""

    def __init__(self) -> None:
        self.last: dict[str, dict[str, float]] = {}
        self.sent: dict[str, list[float]] = {}

    def add(self, body: bytes) -> None:
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            named = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    data = getattr(metric, metric.WhichOneof("data"))
                    assert data.aggregation_temporality == 2  # cumulative
                    value = sum(getattr(p, "count", 0) or p.as_int for p in points(data))
                    self.last.setdefault(metric.name, {})[named["service.instance.id"]] = value
                    self.sent.setdefault(metric.name, []).append(value)


def points(data: Any) -> list[Any]:
    return list(data.data_points)


@contextlib.contextmanager
def collector() -> Iterator[tuple[Received, dict[str, str]]]:
    """Something that takes OTLP over HTTP, and the settings that point FastAPI at it."""
    received, lock = Received(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/metrics":
                with lock:
                    received.add(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield (
            received,
            {
                "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            },
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def orders(cluster: Cluster) -> None:
    await burst(cluster, 60, "POST", "/orders", step="order")


def send_orders(server: str, environment: dict[str, str], traffic: Any = orders) -> Trace:
    """Play otel.py; when this returns, the server has ended and flushed."""
    experiment = Experiment(
        topic=SLUG,
        title="OTLP",
        traffic=traffic,
        requests=60,
        environment=environment,
        invariants=(),
    )
    return play(SLUG, "otel", server, 4, experiment).trace


@pytest.mark.parametrize("server", sorted({server for server, _ in FOUR}))
def test_fastapi_pushes_each_worker_under_its_own_identity(server: str) -> None:
    """Four identities without any setting; their sums are the requests, with no directory."""
    with collector() as (received, environment):
        trace = send_orders(server, environment)
    assert len(trace.workers) == len([v for v in received.last["orders"].values() if v])
    assert "http.server.active_requests" in received.last
    for metric in ("orders", "http.server.request.duration"):
        assert sum(received.last[metric].values()) == 60


def test_fastapi_pushes_nothing_by_itself() -> None:
    """Without FASTAPI_OTEL_AUTO_CONFIGURE=true an endpoint alone changes nothing."""
    with collector() as (received, environment):
        del environment["FASTAPI_OTEL_AUTO_CONFIGURE"]
        send_orders("uvicorn", environment)
    assert received.last == {}


def test_one_identity_for_all_workers_flickers_again() -> None:
    """A service.instance.id from the deployment makes four streams look like one."""
    with collector() as (received, environment):
        shared = {"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=web-1"}
        send_orders("uvicorn", environment | shared)
    assert list(received.last["orders"]) == ["web-1"]
    assert len([value for value in received.sent["orders"] if value]) > 1
    assert max(received.sent["orders"]) < 60


def test_what_a_killed_worker_did_not_push_is_lost() -> None:
    """Pushing every 60 seconds, kill -9 takes along what was counted since."""
    dead = []

    async def kill(cluster: Cluster) -> None:
        await orders(cluster)
        busiest = Counter(e.worker for e in cluster.trace.step("order")).most_common(1)
        dead.extend(busiest)
        await cluster.kill(busiest[0][0] or 0)

    with collector() as (received, environment):
        send_orders("uvicorn", environment, kill)
    assert sum(received.last["orders"].values()) == 60 - dead[0][1]


# -- what the page says of prometheus_client --------------------------------------------


def test_the_variable_may_come_from_outside(tmp_path: Path) -> None:
    """As the library's documentation wants it: the line in good.py is not needed then."""
    source = (TOPIC.folder / "good.py").read_text("utf-8")
    line = 'os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ["RUNTIME_DIRECTORY"]\n'
    assert line in source
    app, directory = tmp_path / "app.py", tmp_path / "metrics"
    app.write_text(source.replace(line, ""), encoding="utf-8")
    directory.mkdir()
    outside = dataclasses.replace(
        EXPERIMENT, environment={"PROMETHEUS_MULTIPROC_DIR": str(directory)}
    )
    result = asyncio.run(stage.play(outside, str(app)))
    assert broken(result) == {"restarted"}  # this test keeps the directory
    names = sorted(path.name.rpartition("_")[0] for path in directory.iterdir())
    assert names == ["counter"] * 9 + ["gauge_livesum"] * 9  # 4, 1 instead, 4 after restart
    assert {path.stat().st_size for path in directory.iterdir()} == {64 * 1024}


def test_the_variable_alone_changes_nothing(tmp_path: Path) -> None:
    """bad.py with the directory still shows one worker only: the collector is missing."""
    outside = dataclasses.replace(
        EXPERIMENT, environment={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    )
    assert "counted" in broken(play(SLUG, "bad", ANY, 4, outside))


def test_multiprocess_mode_shows_no_metrics_of_the_process() -> None:
    """process_* and python_*, which the default registry has, are not there."""

    async def look(cluster: Cluster) -> None:
        for _ in range(20):
            await cluster.request("GET", "/metrics", step="look", value="python_info")

    experiment = dataclasses.replace(EXPERIMENT, traffic=look, invariants=())
    values = {
        app: {e.value for e in play(SLUG, app, ANY, 4, experiment).trace.exchanges}
        for app in ("bad", "good")
    }
    assert values == {"bad": {1.0}, "good": {None}}


def test_mark_process_dead_removes_live_gauges_only(tmp_path: Path) -> None:
    """Counters, histograms and the other gauges stay; so do those of other processes."""
    for kind in ("counter", "histogram", "gauge_all", "gauge_livesum", "gauge_livemax"):
        for pid in (1, 2):
            (tmp_path / f"{kind}_{pid}.db").touch()
    mark_process_dead(1, str(tmp_path))
    left = {path.stem for path in tmp_path.iterdir() if path.stem.endswith("_1")}
    assert left == {"counter_1", "histogram_1", "gauge_all_1"}
    assert len(list(tmp_path.glob("*_2.db"))) == 5


def test_a_reused_pid_goes_on_from_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right for a counter, wrong for a gauge of requests that nobody handles any more."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    def value_of_process_7() -> Any:
        kind = MultiProcessValue(process_identifier=lambda: 7)
        return kind("gauge", "g", "g", (), (), "help", multiprocess_mode="livesum")

    value_of_process_7().inc(5)
    assert value_of_process_7().get() == 5
