"""The app that the stacks launch, without a container: `examples/main.py`."""

import ast
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from helpers import wait_until
from workerlab import catalog
from workerlab.catalog import ROOT, VARIANTS

SECRET = "0123456789abcdef" * 4
NAMES = [f"{topic.slug}/{variant}" for topic in catalog.topics() for variant in VARIANTS]
LIGHT = "in_memory_counter/bad in_memory_counter/good startup_failure/good"
START_TIMEOUT = 120


def settings(folder: Path, **changed: str) -> dict[str, str]:
    """What a stack sets, with everything that is written below *folder*."""
    inherited = {k: v for k, v in os.environ.items() if not k.endswith("_URL")}
    return {
        **inherited,
        "DATA_DIR": str(folder / "data"),
        "RUNTIME_DIRECTORY": str(folder / "run"),
        "PAYMENT_URL": "http://payment.example/",
        "PAYMENT_TIMEOUT": "3",
        "SECRET_KEY": SECRET,
        "WEB_CONCURRENCY": "1",
        **changed,
    }


@contextlib.contextmanager
def serving(folder: Path, workers: int = 1, **changed: str) -> Iterator[str]:
    """``uvicorn main:app`` in ``examples/``, as in the stacks; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        fd = listener.fileno()
        server = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "main:app", f"--fd={fd}", "--no-access-log"],
            cwd=ROOT / "examples",
            env=settings(folder, WEB_CONCURRENCY=str(workers), **changed),
            pass_fds=[fd],
            stdin=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: serves(server, url, workers), "the workers", START_TIMEOUT)
            yield url
        finally:
            server.terminate()
            server.wait(60)


def serves(server: subprocess.Popen[bytes], url: str, workers: int) -> bool:
    assert server.poll() is None, f"uvicorn ended with {server.returncode}"
    try:
        return len(json.loads(get(url + "/whoami")[1])["workers"]) == workers
    except OSError:
        return False


def get(url: str, *, data: bytes | None = None) -> tuple[int, str]:
    """Status and text; a POST when there is *data*."""
    try:
        with urllib.request.urlopen(url, data=data, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_every_topic_can_be_mounted(tmp_path: Path) -> None:
    """Both variants of all topics load beside each other; one waits for its database."""
    code = "import json; from examples.main import PARTS; "
    code += "print(json.dumps({part.path: part.reason for part in PARTS}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=settings(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    parts = json.loads(done.stdout)
    assert set(parts) == {f"/topics/{name}" for name in NAMES}
    assert {p for p, reason in parts.items() if reason} == {"/topics/shared_db_connection/bad"}


def test_image_gets_what_the_app_imports(tmp_path: Path) -> None:
    """Every package that a loaded file imports, in the version that everything else uses."""
    code = "import sys, examples.main; print(*(m.__file__ for n, m in sys.modules.items()"
    code += " if n.startswith('examples.') and m.__file__))"
    files = python(code, settings(tmp_path)).stdout.split()
    loaded = {name for file in files for name in imported(Path(file))}
    owners = packages_distributions()
    needed = {canonical(owner) for name in loaded for owner in owners.get(name, [])}
    image, all_pins = (pins(ROOT / path / "requirements.txt") for path in ("examples", "."))
    assert {"fastapi", "sqlalchemy", "redis"} <= needed
    assert needed - {"workerlab"} <= image.keys()
    assert image.items() <= all_pins.items()
    assert {"gunicorn", "uvicorn", "uvicorn-worker"} <= image.keys()


def imported(file: Path) -> set[str]:
    """First names of all absolute imports."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    plain = {
        alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
    }
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in plain | modules}


def pins(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9.-]+)(?:\[\S+\])?==(\S+)", text, re.MULTILINE))


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_start_page_shows_workers_and_links(tmp_path: Path) -> None:
    """It names the worker that answered, how many there are, and links to what is open."""
    with serving(tmp_path, workers=2, TOPICS=LIGHT, SHOW_DOCS="1", ENVIRONMENT="検証") as url:
        status, page = get(url)
        assert status == 200
        found = re.search(r'id="worker">(\d+)', page)
        assert found
        who = json.loads(get(url + "/whoami")[1])
        assert int(found[1]) in who["workers"]
        assert 'id="workers">2<' in page
        assert who["environment"] == "検証"
        for link in re.findall(r'href="([^"]+)"', page):
            assert get(url + link)[0] in (200, 503), link  # /readyz: no service here
        for path in ("/docs", "/openapi.json", "/topics/in_memory_counter/bad/docs"):
            assert f'href="{path}"' in page


def test_response_names_its_worker(tmp_path: Path) -> None:
    """The header of a mounted app's answer holds a process id of the list."""
    with serving(tmp_path, TOPICS=LIGHT) as url:
        request = urllib.request.Request(url + "/topics/in_memory_counter/bad/visits", data=b"")
        with urllib.request.urlopen(request, timeout=60) as response:
            worker = int(response.headers["X-Worker-Pid"])
            assert json.loads(response.read()) == {"visits": 1, "worker": worker}
        assert worker in json.loads(get(url + "/whoami")[1])["workers"]


def test_documents_are_hidden_unless_asked_for(tmp_path: Path) -> None:
    """Of the app and of everything that it mounts."""
    with serving(tmp_path, TOPICS=LIGHT) as url:
        for prefix in ("", "/topics/in_memory_counter/bad"):
            for path in ("/docs", "/redoc", "/openapi.json"):
                assert get(f"{url}{prefix}{path}")[0] == 404
        assert "この環境では閉じています" in get(url)[1]


def test_topic_that_cannot_start_does_not_prevent_the_others(tmp_path: Path) -> None:
    """Its lifespan fails: it answers 503 with the reason, the others answer."""
    with serving(tmp_path, TOPICS=LIGHT, PAYMENT_URL="nonsense") as url:
        status, answer = get(url + "/topics/startup_failure/good/orders", data=b"")
        assert status == 503
        assert "始められません: ValidationError" in answer
        assert "使えません" in get(url)[1]
        assert get(url + "/topics/in_memory_counter/bad/visits")[0] == 200


def test_lifespan_of_a_mounted_app_runs(tmp_path: Path) -> None:
    """FastAPI calls none of a mounted app by itself; the answer needs what it prepared."""
    with serving(tmp_path, TOPICS=LIGHT) as url:
        status, answer = get(url + "/topics/startup_failure/good/orders", data=b"")
        assert (status, json.loads(answer)["payment_timeout"]) == (201, 3)


def test_health_is_not_readiness(tmp_path: Path) -> None:
    """With a service gone the app lives and is not ready; the address is not told."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with serving(tmp_path, TOPICS=LIGHT, REDIS_URL=f"redis://127.0.0.1:{port}/0") as url:
        assert get(url + "/healthz") == (200, '{"status":"ok"}')
        status, answer = get(url + "/readyz")
        assert (status, json.loads(answer)) == (503, {"REDIS_URL": "ConnectionError"})


def metrics(url: str) -> dict[str, float]:
    """Every series of /metrics by its name, labels included."""
    lines = get(url + "/metrics")[1].splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_metrics_are_the_sum_of_all_workers(tmp_path: Path) -> None:
    """Whichever of two workers is asked: the counter never falls and misses nothing."""
    with serving(tmp_path, workers=2, TOPICS=LIGHT) as url:
        before = metrics(url)
        for _ in range(20):
            get(url + "/whoami")
        after = metrics(url)
        for series in (
            'http_requests_total{status="2xx"}',
            "http_request_duration_seconds_count",
        ):
            assert after[series] == before[series] + 20
        assert after["workers"] == 2
        assert after['http_requests_total{status="5xx"}'] == 0


def test_probes_are_not_counted(tmp_path: Path) -> None:
    """They would dilute the errors of the users, or be errors that no user saw."""
    with serving(tmp_path, TOPICS=LIGHT, REDIS_URL="redis://127.0.0.1:1/0") as url:
        before = metrics(url)
        assert get(url + "/readyz")[0] == 503
        assert get(url + "/healthz")[0] == 200
        after = metrics(url)
        changed = {name for name in before if before[name] != after[name]}
        assert not {name for name in changed if name.startswith("http_request")}


def test_errors_are_counted(tmp_path: Path) -> None:
    """A route that raises answers 500, and one more 5xx is counted."""
    with serving(tmp_path, TOPICS=LIGHT, REDIS_URL="redis://127.0.0.1:1/0") as url:
        assert get(url + "/topics/in_memory_counter/good/visits")[0] == 500
        assert metrics(url)['http_requests_total{status="5xx"}'] == 1


def test_death_of_a_worker_is_counted_once(tmp_path: Path) -> None:
    """The number outlives it; what it had in work is in work no more."""
    slow = "/topics/metrics_flicker/bad/orders?seconds=300"
    with (
        serving(tmp_path, workers=2, TOPICS="metrics_flicker/bad") as url,
        ThreadPoolExecutor() as pool,
    ):
        orders = [pool.submit(get, url + slow, data=b"") for _ in range(4)]
        wait_until(lambda: metrics(url)["http_requests_in_progress"] == 5, "4 in work")
        killed = worker_pids(url)
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        assert all(isinstance(order.exception(60), OSError) for order in orders)

        def replaced() -> bool:
            found = worker_pids(url)
            return len(found) == 2 and not set(found) & set(killed)

        wait_until(replaced, "two new workers", START_TIMEOUT)
        seen = metrics(url)
        assert (seen["worker_deaths_total"], seen["workers"]) == (2, 2)
        assert seen["http_requests_in_progress"] == 1  # the reading itself


def worker_pids(url: str) -> list[int]:
    """Empty while nobody answers."""
    try:
        return list(json.loads(get(url + "/whoami")[1])["workers"])
    except OSError:
        return []


def test_secrets_come_from_files(tmp_path: Path) -> None:
    """A variable with _FILE names the file; what stands in it is the secret."""
    (tmp_path / "key").write_text(SECRET + "\n")
    files = {"SECRET_KEY": "", "SECRET_KEY_FILE": str(tmp_path / "key")}
    code = "import os, examples.main; print(os.environ['SECRET_KEY'])"
    done = python(code, settings(tmp_path, TOPICS=LIGHT, **files))
    assert done.stdout.strip() == SECRET


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"REQUIRE_SECRETS": "1", "SECRET_KEY": "short"}, "SECRET_KEY、PGPASSWORD"),
        ({"REQUIRE_SECRETS": "1"}, "32 文字以上の秘密が要ります: PGPASSWORD"),
        ({"TOPICS": "no_such_topic/bad"}, "no_such_topic/bad"),
    ],
)
def test_wrong_settings_end_the_start(
    tmp_path: Path, changed: dict[str, str], message: str
) -> None:
    """One line that names what is missing, and a status that is not 0."""

    done = python("import examples.main", settings(tmp_path, **{"TOPICS": LIGHT, **changed}))
    assert done.returncode == 1
    assert message in done.stderr.strip().splitlines()[-1]


def python(code: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in env.items() if k != "PGPASSWORD"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT,
        check=False,
    )
