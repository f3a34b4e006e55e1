"""The lab's runtime in headless Chromium, from a plain static server in a sub-path.

Counts are asserted, never milliseconds. `make lab` must have been run.
"""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers import wait_until

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/lab"))
harness = pytest.importorskip("harness", reason="needs Playwright for Python")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),  # a busy machine takes long to start browsers and workers
    pytest.mark.skipif(not Path(harness.CHROMIUM).exists(), reason="needs Debian's chromium"),
]

WHOAMI = """
import asyncio, os, random, time
from fastapi import FastAPI

app = FastAPI()
first_draw = random.random()
memory = 0
running = peak = 0


@app.get("/whoami")
async def whoami():
    global memory
    memory += 1
    return {"pid": os.getpid(), "memory": memory, "draw": first_draw}


@app.get("/forever")
async def forever():
    while True:
        pass


@app.get("/block")
async def block():
    time.sleep(600)  # blocks the event loop: this worker takes no connection meanwhile
    return {"pid": os.getpid()}


@app.get("/overlap")
def overlap():
    global running, peak
    running += 1
    peak = max(peak, running)
    time.sleep(0.3)
    running -= 1
    return {"peak": peak}


@app.get("/slow")
async def slow():
    await asyncio.sleep(30)
"""


@pytest.fixture(scope="module")
def browser():
    with harness.lab_browser() as opened:
        yield opened


@pytest.fixture
def expected_errors():
    """A test that breaks something on purpose adds what the page will say of it."""
    return set()


@pytest.fixture
def page(browser, expected_errors):
    tab = harness.open_page(*browser)
    errors = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    yield tab
    tab.close()
    assert set(errors) <= expected_errors


@contextmanager
def cluster(page, **options):
    """A started cluster; stopped at the end. Yields its place in ``window.clusters``."""
    outcome = page.evaluate("options => open(options)", options)
    assert outcome["ok"], outcome
    try:
        yield outcome["at"]
    finally:
        page.evaluate("at => clusters[at].stop()", outcome["at"])


def app(source, **options):
    return {"files": {"main.py": source}, "app": "main:app", **options}


def ask(page, at, path, method="GET", **options):
    return page.evaluate(
        "([at, method, path, options]) => ask(at, method, path, options)",
        [at, method, path, options],
    )


def ask_many(page, at, path, count):
    """Send *count* requests at once; returns the answers."""
    return page.evaluate(
        "([at, path, n]) => Promise.all(Array.from({ length: n }, () => ask(at, 'GET', path)))",
        [at, path, count],
    )


def body(answer):
    assert answer["status"] == 200, answer
    return json.loads(answer["body"])


def logged(page, at):
    return page.evaluate(
        """at => clusters[at].events.filter(e => e.type === 'log').map(e => e.text)
             .join('\\n')""",
        at,
    )


def wait_for(page, condition, at):
    """Wait for a JavaScript condition on the cluster ``c``."""
    page.wait_for_function(f"at => {{ const c = clusters[at]; return {condition}; }}", arg=at)


# -- the experiment ----------------------------------------------------------------------


def play(page, variant, workers=4, **options):
    with cluster(page, workers=workers, **harness.example(variant), **options) as at:
        outcome = page.evaluate("at => clusters[at].run()", at)
        picture = page.evaluate(
            "at => clusters[at].draw({ title: '記録', ident: 'x', expected: 1000 })", at
        )
        rows = page.evaluate(
            """at => clusters[at].events.filter(e => e.type === 'exchanges')
                 .flatMap(e => e.rows)""",
            at,
        )
    return outcome, picture, rows


def verdicts(result):
    return {i["name"]: (i["observed"], i["holds"]) for i in result["invariants"]}


def test_bad_counts_too_few_with_four_workers(page):
    """Four interpreters count for themselves: the reader sees a part of the 1000 visits."""
    outcome, picture, rows = play(page, "in_memory_counter/bad")
    result = outcome["result"]
    assert result["conclusive"]
    assert not result["holds"]
    assert verdicts(result)["accepted"] == (1000, True)
    assert verdicts(result)["last_read"][0] < 1000
    assert len(result["pids"]) == 4
    assert len(rows) == 1001
    assert picture.startswith("<svg")
    assert picture.count('class="wl-lane"') == 4


def test_good_counts_every_visit_through_redis(page):
    """The unmodified good.py reaches Redis over the virtual network: 1000 is 1000."""
    outcome, _, _ = play(page, "in_memory_counter/good")
    result = outcome["result"]
    assert result["conclusive"]
    assert result["holds"], verdicts(result)


def test_verdict_equals_the_engines_own_judgement(page):
    """The trace that the browser gives is judged the same by the engine on this machine."""
    sys.path.insert(0, str(ROOT))
    from examples.in_memory_counter.experiment import EXPERIMENT
    from workerlab.experiment import judge
    from workerlab.trace import Trace

    outcome, _, _ = play(page, "in_memory_counter/bad", workers=2)
    result = outcome["result"]
    again = judge(EXPERIMENT, Trace.from_dict(result["trace"])).to_dict()
    assert again["invariants"] == result["invariants"]
    assert again["pids"] == result["pids"]


def test_a_worker_killed_in_mid_run_loses_its_requests(page):
    """Requests in flight break, the run says so, and the lane has a new process."""
    with cluster(page, workers=3, **harness.example("in_memory_counter/good")) as at:
        outcome = page.evaluate(
            """async at => {
              const c = clusters[at];
              const before = c.workers.map(w => w.pid);
              const run = c.run();
              while (!c.workers[1].inFlight) await new Promise(r => setTimeout(r));
              c.kill(before[1]);
              return { before, outcome: await run };
            }""",
            at,
        )
        assert "件のリクエストに答えがありませんでした" in outcome["outcome"]["failure"]
        kinds = [e["kind"] for e in outcome["outcome"]["trace"]["events"]]
        assert kinds == ["worker_killed"]
        wait_for(page, "c.workers.every(w => w.state === 'ready')", at)
        after = page.evaluate("at => clusters[at].workers.map(w => w.pid)", at)
        assert after[0] == outcome["before"][0]
        assert after[1] not in outcome["before"]


# -- processes ---------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 5, 6])
def test_every_worker_is_a_process_of_its_own(page, workers):
    """Each has its own pid, its own memory and its own random numbers, and each is reached."""
    with cluster(page, workers=workers, **app(WHOAMI)) as at:
        seen = {}
        for _ in range(20):
            for answer in map(body, ask_many(page, at, "/whoami", 20)):
                seen.setdefault(answer["pid"], []).append(answer)
            if len(seen) == workers:
                break
        assert len(seen) == workers
        for answers in seen.values():
            assert sorted(a["memory"] for a in answers) == list(range(1, len(answers) + 1))
        assert len({answers[0]["draw"] for answers in seen.values()}) == workers


def test_keep_alive_stays_with_one_worker(page):
    """Ten requests over one connection are answered by one process, over ten by several."""
    with cluster(page, workers=3, **app(WHOAMI)) as at:
        pids = page.evaluate(
            """async at => {
              const connection = new Connection();
              const pids = [];
              for (let i = 0; i < 10; i++)
                pids.push((await ask(at, 'GET', '/whoami', { connection })).worker);
              return pids;
            }""",
            at,
        )
        assert len(set(pids)) == 1


def test_an_endless_loop_blocks_its_own_worker_and_can_be_killed(page):
    """The others go on; the killed worker's request breaks; the new one starts from zero."""
    with cluster(page, workers=2, **app(WHOAMI)) as at:
        page.evaluate(
            "at => { window.stuck = ask(at, 'GET', '/forever', { timeout: 600000 }) }", at
        )
        wait_for(page, "c.workers.some(w => w.inFlight === 1)", at)
        stuck = page.evaluate("at => clusters[at].workers.find(w => w.inFlight).pid", at)
        others = {body(a)["pid"] for a in ask_many(page, at, "/whoami", 30)}
        assert stuck not in others
        page.evaluate("([at, pid]) => clusters[at].kill(pid)", [at, stuck])
        assert page.evaluate("window.stuck")["error"] == "connection-reset"
        wait_for(page, "c.workers.every(w => w.state === 'ready')", at)
        fresh = page.evaluate("at => clusters[at].workers.map(w => w.pid)", at)
        assert stuck not in fresh


def test_time_sleep_in_async_def_blocks_only_its_worker(page):
    """While one event loop is blocked, every new connection goes to the other process."""
    with cluster(page, workers=2, **app(WHOAMI)) as at:
        page.evaluate(
            "at => { window.asleep = ask(at, 'GET', '/block', { timeout: 600000 }) }", at
        )
        wait_for(page, "c.workers.some(w => w.inFlight === 1)", at)
        asleep = page.evaluate("at => clusters[at].workers.find(w => w.inFlight).pid", at)
        others = {body(answer)["pid"] for answer in ask_many(page, at, "/whoami", 20)}
        assert len(others) == 1
        assert asleep not in others
        page.evaluate("([at, pid]) => clusters[at].kill(pid)", [at, asleep])
        assert page.evaluate("window.asleep")["error"] == "connection-reset"


@pytest.mark.parametrize(("jspi", "peak"), [(True, 3), (False, 1)])
def test_def_endpoints_overlap_only_with_jspi(page, jspi, peak):
    """With JSPI three blocking calls overlap, without it they run one after another."""
    with cluster(page, workers=1, jspi=jspi, **app(WHOAMI)) as at:
        assert page.evaluate("at => clusters[at].capabilities.jspi", at) is jspi
        answers = [body(a) for a in ask_many(page, at, "/overlap", 3)]
        assert max(a["peak"] for a in answers) == peak


def test_a_request_times_out_as_a_value(page):
    """A slow answer becomes an error with a code; the worker goes on."""
    with cluster(page, workers=1, **app(WHOAMI)) as at:
        assert ask(page, at, "/slow", timeout=200)["error"] == "timeout"
        assert body(ask(page, at, "/whoami"))["memory"] == 1


def test_a_broken_interpreter_is_replaced_and_reported(page, expected_errors):
    """What goes wrong below Python ends the worker with a reason; the supervisor goes on."""
    expected_errors.add("broken")
    source = """
from fastapi import FastAPI
from pyodide.code import run_js

app = FastAPI()


@app.get("/break")
async def break_it():
    run_js("setTimeout(() => Promise.reject(new Error('broken')), 0)")


@app.get("/fine")
async def fine():
    return True
"""
    with cluster(page, workers=1, **app(source)) as at:
        ask(page, at, "/break")
        wait_for(page, "c.workers[0].restarts === 1 && c.workers[0].state === 'ready'", at)
        deaths = page.evaluate(
            "at => clusters[at].events.filter(e => e.type === 'worker-died')", at
        )
        assert [(d["code"], d["detail"]) for d in deaths] == [("worker-crashed", "broken")]
        assert body(ask(page, at, "/fine")) is True


def test_timers_of_the_snapshot_are_forgotten(page):
    """Nothing waits for a timer that the build had set: it would never fire."""
    source = """
import asyncio
from fastapi import FastAPI

app = FastAPI()
loop = asyncio.get_event_loop()
inherited = [len(loop._timers), str(loop._armed_until)]


@app.get("/inherited")
async def nap():
    await asyncio.sleep(0.01)
    return inherited
"""
    with cluster(page, workers=1, **app(source)) as at:
        assert body(ask(page, at, "/inherited")) == [0, "inf"]


# -- errors ------------------------------------------------------------------------------


def test_a_syntax_error_is_reported_before_anything_starts(page):
    """No worker runs the app; the message shows the reader's line."""
    outcome = page.evaluate(
        "o => open(o)", app("from fastapi import FastAPI\napp = FastAPI(\n", workers=2)
    )
    assert outcome["code"] == "syntax-error"
    assert 'File "/app/main.py", line 2' in outcome["detail"]
    states = page.evaluate(
        "at => clusters[at].events.filter(e => e.type === 'worker').map(e => e.worker.state)",
        outcome["at"],
    )
    assert "starting" not in states


def test_an_error_at_import_shows_the_readers_line(page):
    """The traceback begins in the reader's file and quotes the line."""
    outcome = page.evaluate("o => open(o)", app("x = 1\ny = x / 0\n", workers=1))
    assert outcome["code"] == "app-error"
    assert 'File "/app/main.py", line 2' in outcome["detail"]
    assert "y = x / 0" in outcome["detail"]
    assert "lab_server" not in outcome["detail"]
    assert page.evaluate("at => clusters[at].state", outcome["at"]) == "stopped"


def test_a_failing_lifespan_stops_the_start(page):
    """The exception in the lifespan is what the reader gets to see."""
    source = """
from contextlib import asynccontextmanager
from fastapi import FastAPI

@asynccontextmanager
async def lifespan(app):
    raise RuntimeError("no database")
    yield

app = FastAPI(lifespan=lifespan)
"""
    outcome = page.evaluate("o => open(o)", app(source, workers=1))
    assert outcome["code"] == "app-error"
    assert "no database" in outcome["detail"]


# -- what FastAPI and its friends do -------------------------------------------------------

FEATURES = (ROOT / "tests/browser/test_lab_app.py").read_text("utf-8")


@pytest.fixture(scope="module")
def features(browser):
    """One running cluster for the read-only questions below."""
    tab = harness.open_page(*browser)
    with cluster(tab, workers=2, **app(FEATURES)) as at:
        yield tab, at
    tab.close()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/state", {"shared": 42, "startup": 1}),
        ("/dependency", ["sync in", "async in", "endpoint"]),
        ("/sqlite", {"rows": 1}),
        ("/executor", {"done": 2}),
        ("/lazy", {"module": "wave"}),
        ("/threadpool", {"value": 7}),
    ],
)
def test_feature(features, path, expected):
    """An endpoint that uses one feature answers as on a server."""
    assert body(ask(*features, path)) == expected


def test_dependencies_with_yield_are_closed_in_order(features):
    """The exit halves run after the response, the inner one first."""
    page, at = features
    page.evaluate("window.conn = new Connection()")
    js = "([at, path]) => ask(at, 'GET', path, { connection: window.conn })"
    page.evaluate(js, [at, "/dependency"])
    events = body(page.evaluate(js, [at, "/events"]))
    assert events[-2:] == ["async out", "sync out"]


def test_background_tasks_run_after_the_response(features):
    """A sync and an async task, in the order in which they were added."""
    page, at = features
    page.evaluate("window.conn = new Connection()")
    js = "([at, path]) => ask(at, 'GET', path, { connection: window.conn })"
    assert body(page.evaluate(js, [at, "/background"])) == {"queued": True}
    for _ in range(50):
        events = body(page.evaluate(js, [at, "/events"]))
        if "async task" in events:
            break
    assert [e for e in events if e.endswith("task")] == ["sync task", "async task"]


def test_a_session_cookie_of_one_worker_is_valid_for_the_other(features):
    """SessionMiddleware signs with the same key in every process."""
    page, at = features
    first = ask(page, at, "/session")
    cookie = dict(first["headers"])["set-cookie"].split(";")[0]
    pids, counts = {first["worker"]}, []
    for _ in range(30):
        answer = ask(page, at, "/session", headers={"cookie": cookie})
        pids.add(answer["worker"])
        counts.append(body(answer)["n"])
        if len(pids) == 2:
            break
    assert len(pids) == 2
    assert set(counts) == {2}


@pytest.mark.parametrize("path", ["/stream", "/stream-sync"])
def test_a_streaming_response_comes_in_parts(features, path):
    """Chunks leave the worker one by one."""
    answer = ask(*features, path)
    assert answer["body"] == "0\n1\n2\n3\n"
    assert answer["parts"] == 4


def test_statuses(features):
    """Validation, HTTPException, unknown path, an unhandled exception."""
    page, at = features
    assert ask(page, at, "/items/x")["status"] == 422
    assert ask(page, at, "/teapot")["status"] == 418
    assert ask(page, at, "/nope")["status"] == 404
    assert ask(page, at, "/boom")["status"] == 500
    log = logged(page, at)
    assert "Exception in ASGI application" in log
    assert "return 1 / 0" in log


def test_bodies_and_headers_arrive_whole(features):
    """100 KB with every kind of character, a query and a header."""
    text = "あいう\x00é" * 20_000
    answer = ask(
        *features, "/echo?a=1&b=%E3%81%82", method="POST", body=text, headers={"x-a": "b"}
    )
    assert body(answer) == {
        "length": len(text.encode()), "query": {"a": "1", "b": "あ"}, "header": "b",
    }  # fmt: skip


def test_documentation_pages(features):
    """/docs and /openapi.json are FastAPI's own."""
    assert "openapi" in body(ask(*features, "/openapi.json"))
    assert "swagger-ui" in ask(*features, "/docs")["body"]


def test_print_and_logging_reach_the_log(features):
    """What the app prints is there, with the worker that printed it."""
    page, at = features
    pid = body(ask(page, at, "/print"))["pid"]
    lines = page.evaluate(
        "([at, pid]) => clusters[at].events.filter(e => e.type === 'log' && e.pid === pid)",
        [at, pid],
    )
    assert {"printed", "warned"} <= {line["text"].split(":")[-1] for line in lines}


def test_websocket(features):
    """Frames go both ways; the app sees the close."""
    page, at = features
    frames = page.evaluate(
        """at => new Promise(resolve => {
          const frames = [];
          const socket = clusters[at].websocket('/ws', (kind, data) => {
            frames.push([kind, data]);
            if (kind === 'open') { socket.send('a'); socket.send('b'); }
            if (frames.length === 3) socket.close();
            if (kind === 'end') resolve(frames);
          });
        })""",
        at,
    )
    assert frames == [["open", ""], ["message", "echo a"], ["message", "echo b"], ["end", ""]]


def test_redis_asyncio_unmodified(features):
    """Strings, expiry, hashes, lists, sorted sets, transactions, pub/sub, locks."""
    answers = body(ask(*features, "/redis"))
    assert answers == {
        "ttl": 10, "nx": None, "hash": {"x": "1", "y": "z"}, "pipeline": [1, 2, True],
        "zrange": [["a", 1.0], ["b", 2.5]], "list": ["1", "2"], "blpop": ["l", "1"],
        "blpop_empty": None, "pubsub": "hello", "watch": "WatchError",
        "lock": [True, False, True], "lua": "no Lua",
    }  # fmt: skip


def test_workers_share_redis(features):
    """40 increments by two processes are 1 to 40."""
    page, at = features
    ask(page, at, "/redis-reset")
    numbers = sorted(body(a)["n"] for a in ask_many(page, at, "/increment", 40))
    assert numbers == list(range(1, 41))


def test_blocking_redis_in_def_endpoints(features):
    """The sync client needs JSPI; 40 threads at a time, each waits for itself alone."""
    page, at = features
    ask(page, at, "/redis-reset")
    numbers = sorted(body(a)["n"] for a in ask_many(page, at, "/increment-sync", 40))
    assert numbers == list(range(1, 41))


def test_unknown_hosts_and_closed_ports(features):
    """gaierror and ConnectionRefusedError, as a server's kernel would say."""
    assert body(ask(*features, "/unreachable")) == {
        "nosuch:6379": "gaierror", "redis:1234": "ConnectionRefusedError",
        "localhost:6379": "ConnectionRefusedError",
    }  # fmt: skip


def test_a_stopped_redis_refuses_and_forgets(page):
    """Stop: commands fail. Start: they work again, the data is gone."""
    with cluster(page, workers=1, **app(FEATURES)) as at:
        assert [body(ask(page, at, "/increment"))["n"] for _ in range(2)] == [1, 2]
        page.evaluate("at => clusters[at].setService('redis', false)", at)
        assert ask(page, at, "/increment")["status"] == 500
        page.evaluate("at => clusters[at].setService('redis', true)", at)
        assert body(ask(page, at, "/increment"))["n"] == 1


def test_sqlalchemy_from_its_own_image(page):
    """Synchronous SQLAlchemy on SQLite; every worker has a file system of its own."""
    source = """
import os
from fastapi import FastAPI
from sqlalchemy import create_engine, text

app = FastAPI()
engine = create_engine("sqlite:////tmp/a.db")
with engine.begin() as connection:
    connection.execute(text("create table t (x)"))


@app.get("/")
def add():
    with engine.begin() as connection:
        connection.execute(text("insert into t values (1)"))
        return {"rows": connection.execute(text("select count(*) from t")).scalar()}
"""
    with cluster(page, workers=1, **app(source)) as at:
        assert page.evaluate("at => clusters[at].image", at) == "sql"
        assert [body(ask(page, at, "/"))["rows"] for _ in range(3)] == [1, 2, 3]


# -- the ways to start ---------------------------------------------------------------------


def test_a_changed_layout_falls_back_to_the_plain_path(page):
    """The assert at restore fails loudly, the lab says so and starts without the snapshot."""
    with cluster(page, workers=2, breakLayout=True, **app(FEATURES)) as at:
        assert page.evaluate("at => clusters[at].capabilities", at) == {
            "jspi": True, "snapshot": False,
        }  # fmt: skip
        notices = page.evaluate(
            "at => clusters[at].events.filter(e => e.type === 'notice').map(e => e.code)", at
        )
        assert notices == ["plain-path"]
        assert body(ask(page, at, "/increment"))["n"] == 1
        assert body(ask(page, at, "/lazy")) == {"module": "wave"}


def test_the_plain_path_plays_the_experiment(page):
    """Without snapshot and without JSPI the verdict is the same."""
    outcome, _, _ = play(page, "in_memory_counter/good", workers=2, plain=True, jspi=False)
    assert outcome["result"]["holds"]


def test_without_jspi_the_experiment_holds(page):
    """As in Safari: the same snapshot, JSPI removed before Pyodide looks for it."""
    outcome, _, _ = play(page, "in_memory_counter/good", workers=2, jspi=False)
    assert outcome["result"]["holds"]


def test_nothing_is_downloaded_before_it_is_asked_for(browser):
    """The page alone fetches the small modules, not the runtime."""
    server, context = browser
    server.bytes_sent()
    tab = harness.open_page(server, context)
    assert not [path for path, _, _ in server.sent if "/runtime/" in path]
    tab.close()


def test_twenty_runs_leave_nothing_behind(page):
    """Web Workers are gone after each run, and memory stops growing after the first few."""
    sizes = []
    for run in range(20):
        outcome, _, _ = play(page, f"in_memory_counter/{('bad', 'good')[run % 2]}", workers=2)
        assert outcome["result"]["conclusive"]
        page.wait_for_function("clusters.at(-1).state === 'stopped'")
        # The client is kept for the next run. The browser tells of an end when it comes to it.
        wait_until(lambda: page.evaluate("1") == len(page.workers), "the workers' end")
        page.evaluate("clusters.splice(0)")
        page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
        sizes.append(renderer_memory())
    assert max(sizes[-5:]) < 1.25 * max(sizes[3:8]), sizes


def renderer_memory():
    """PSS in MB of all renderer processes below this one."""
    total = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_text()
            if "--type=renderer" in command and os.getpid() in ancestors(entry.name):
                pss = (entry / "smaps_rollup").read_text().split("Pss:")[1].split()[0]
                total += int(pss) / 1024
        except OSError:
            continue
    return round(total)


def ancestors(pid):
    found = []
    while pid not in ("0", "1"):
        stat = Path(f"/proc/{pid}/stat").read_text()
        pid = stat[stat.rindex(")") + 2 :].split()[1]
        found.append(int(pid))
    return found


# -- PostgreSQL: the seam ---------------------------------------------------------------------

POSTGRES = """
import os
import pg8000.native
from fastapi import FastAPI

app = FastAPI()


@app.get("/version")
def version():
    with pg8000.native.Connection("postgres", host="db", password="postgres") as db:
        return {"version": db.run("select version()")[0][0].split()[0]}


@app.get("/add")
def add():
    with pg8000.native.Connection("postgres", host="db", password="postgres") as db:
        db.run("create table if not exists visits (pid int)")
        db.run("start transaction")
        db.run("insert into visits values (:pid)", pid=os.getpid())
        count = db.run("select count(*), count(distinct pid) from visits")[0]
        db.run("commit")
        return {"rows": count[0], "pids": count[1]}
"""


def test_postgres_is_one_more_host_of_the_network(page):
    """Two workers share a table through the unmodified pure-Python driver pg8000."""
    with cluster(page, workers=2, services=["redis", "db"], **app(POSTGRES)) as at:
        assert body(ask(page, at, "/version"))["version"] == "PostgreSQL"
        answers = [body(ask(page, at, "/add")) for _ in range(12)]
        assert [a["rows"] for a in answers] == list(range(1, 13))
        assert answers[-1]["pids"] == 2


# -- drills ----------------------------------------------------------------------------------


def test_a_drill_stops_and_starts_redis(page):
    """The experiment's own words reach the lab: stop_service, start_service."""
    options = harness.example("in_memory_counter/good")
    with cluster(page, workers=2, drill="valkey_restart", **options) as at:
        result = page.evaluate("at => clusters[at].run()", at)["result"]
    assert result["holds"], verdicts(result)
    kinds = [event["kind"] for event in result["trace"]["events"]]
    assert kinds == ["service_stopped", "service_started"]
