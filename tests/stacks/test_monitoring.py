"""Prometheus beside prod on a real engine: its alerts are provoked, and end."""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers import wait_until
from stack_commands import CHECK_CONFIG, DOWN, FILES, MONITORING, TEST_RULES, UP
from workerlab.catalog import ROOT

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
APP, PROMETHEUS = "http://127.0.0.1:8040", "http://127.0.0.1:8042"
VISITS = "/topics/in_memory_counter/good/visits"
TOPICS = "in_memory_counter/good"
INTERVAL = "2s"
"""Instead of the 15 seconds of monitoring/prometheus.yml; the rules stay as they are."""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project with prod and Prometheus up, which reads and judges more often."""
    folder = tmp_path_factory.mktemp("monitoring")
    listed = subprocess.run(
        ["git", "ls-files", "examples", "tools/docker", "*.yml", "*.conf", "Dockerfile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in [*listed.stdout.split(), ".dockerignore"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    config = folder / "monitoring" / "prometheus.yml"
    text = config.read_text(encoding="utf-8")
    assert text.count("15s") == 2
    config.write_text(text.replace("15s", INTERVAL), encoding="utf-8")
    try:
        shell(UP["prod"], folder)
        shell(MONITORING, folder)
        wait_until(lambda: query("up") == 1 and query("workers") == 4, "a reading of 4", 300)
        yield folder
    finally:
        shell(DOWN["prod"], folder)


def shell(command: str, folder: Path) -> str:
    """Type *command* in *folder*, with the one topic alone in the app."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "TOPICS": TOPICS},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout


def compose(arguments: str, folder: Path) -> str:
    return shell(f"docker compose -f {FILES['prod']} {arguments}", folder)


def get(url: str, *, data: bytes | None = None) -> tuple[int, str]:
    """Status and text; status 0 when nobody answered."""
    try:
        with urllib.request.urlopen(url, data=data, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, ValueError):
        return 0, ""


def ask(path: str) -> dict[str, object]:
    """What Prometheus's API answers; empty while it does not."""
    status, text = get(f"{PROMETHEUS}/api/v1/{path}")
    return dict(json.loads(text)["data"]) if status == 200 else {}


def query(expression: str) -> float | None:
    """The one number that *expression* gives now; None when there is none."""
    found = ask("query?" + urllib.parse.urlencode({"query": expression})).get("result")
    assert not found or isinstance(found, list)
    return float(found[0]["value"][1]) if found else None


def alerts() -> dict[str, str]:
    """The state, pending or firing, of each alert that is not quiet."""
    listed = ask("alerts").get("alerts")
    assert isinstance(listed, list)
    return {alert["labels"]["alertname"]: alert["state"] for alert in listed}


def send(path: str, count: int, *, data: bytes | None = None) -> list[int]:
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: get(APP + path, data=data)[0], range(count)))


def test_config_and_rules_pass_their_own_tests(copy: Path) -> None:
    """The commands of the page; the rules' tests move a clock of their own."""
    assert "SUCCESS: 3 rules found" in shell(CHECK_CONFIG, copy)
    assert "SUCCESS" in shell(TEST_RULES, copy)


def test_rules_can_fail_their_tests(copy: Path) -> None:
    """With another threshold, promtool says so."""
    rules = copy / "monitoring" / "alerts.yml"
    text = rules.read_text(encoding="utf-8")
    rules.write_text(text.replace(">= 3", ">= 4"), encoding="utf-8")
    try:
        with pytest.raises(AssertionError, match="WorkerRestarts"):
            shell(TEST_RULES, copy)
    finally:
        rules.write_text(text, encoding="utf-8")


def test_prometheus_is_the_version_of_its_image(copy: Path) -> None:
    """Also where the image is a stand-in."""
    version = str(ask("status/buildinfo")["version"])
    image = compose("ps --format {{.Image}} prometheus", copy).strip()
    assert image == f"prom/prometheus:v{version.partition('+')[0]}"


def test_prometheus_is_hardened(copy: Path) -> None:
    """Nobody, no capability, no way to get one, and nothing to write to but its own places."""
    status = dict(
        line.split(":\t", 1)
        for line in compose("exec -T prometheus cat /proc/1/status", copy).splitlines()
    )
    assert status["Uid"].split() == ["65534"] * 4
    assert (int(status["CapEff"], 16), int(status["CapBnd"], 16)) == (0, 0)
    assert status["NoNewPrivs"] == "1"
    for place in ("/etc/prometheus", "/usr"):
        with pytest.raises(AssertionError, match="Read-only file system"):
            compose(f"exec -T prometheus touch {place}/x", copy)


def test_prometheus_keeps_its_connection(copy: Path) -> None:
    """It reads again and again, and the same worker answers: one number would not flicker."""
    seen = [connections(copy) for _ in range(3) if read_again()]
    assert len(seen[0]) == 1
    assert seen[1:] == [seen[0]] * 2


def read_again() -> bool:
    """Return when Prometheus has read once more."""
    last = query("timestamp(workers)")
    return wait_until(lambda: query("timestamp(workers)") != last, "the next reading", 60)


def connections(folder: Path) -> set[str]:
    """Workers and the ports of Prometheus's connections to them."""
    code = (
        "import psutil, socket; ip = socket.gethostbyname('prometheus')\n"
        "for p in psutil.process_iter():\n"
        "    if p.pid != 1:\n"
        "        for c in p.net_connections('tcp'):\n"
        "            if c.raddr and c.raddr.ip == ip and c.status == 'ESTABLISHED':\n"
        "                print(p.pid, c.raddr.port)"
    )
    return set(compose(f'exec -T app python -c "{code}"', folder).splitlines())


def test_no_alert_without_a_reason(copy: Path) -> None:
    """All three are known, and none is pending."""
    (group,) = list(ask("rules")["groups"])  # type: ignore[call-overload]
    names = [rule["name"] for rule in group["rules"]]
    assert names == ["ErrorRatio", "WorkerRestarts", "AppDown"]
    assert alerts() == {}


def test_killed_workers_raise_the_alert(copy: Path) -> None:
    """Three of four are killed: counted, replaced, and told."""
    before = json.loads(get(f"{APP}/whoami")[1])["workers"]
    killed = " ".join(map(str, before[:3]))
    compose(f'exec -T app sh -c "kill -9 {killed}"', copy)
    wait_until(lambda: alerts().get("WorkerRestarts") == "firing", "WorkerRestarts", 120)
    wait_until(lambda: query("workers") == 4, "four workers", 120)
    assert query("worker_deaths_total") == 3
    assert "ErrorRatio" not in alerts()


def test_errors_raise_the_alert_and_good_answers_end_it(copy: Path) -> None:
    """Valkey is stopped: 5xx. It comes back, and the share of the errors falls."""
    compose("stop cache", copy)
    try:
        assert set(send(VISITS, 24, data=b"")) == {500}
        wait_until(lambda: alerts().get("ErrorRatio") == "firing", "ErrorRatio", 120)
    finally:
        compose("up --detach --wait cache", copy)
    assert get(APP + VISITS, data=b"")[0] == 200

    def ended() -> bool:
        assert set(send("/whoami", 120)) == {200}
        return "ErrorRatio" not in alerts()

    wait_until(ended, "the end of ErrorRatio", 240)


def test_missing_app_is_noticed(copy: Path) -> None:
    """Pending for the first minute; the rules' own tests show what follows."""
    compose("stop app", copy)
    try:
        wait_until(lambda: alerts().get("AppDown") == "pending", "AppDown", 50)
    finally:
        compose("up --detach --wait app", copy)
    wait_until(lambda: "AppDown" not in alerts(), "the end of AppDown", 120)
