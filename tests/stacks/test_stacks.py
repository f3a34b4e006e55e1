"""The three stacks on a real engine, brought up side by side with the README's commands."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import runners

from helpers import wait_until
from stack_commands import DOWN, FILES, PROXY, TWO_WORKERS, UP
from tools import drills
from tools.drill_acts import kill_first_process
from workerlab import catalog
from workerlab.catalog import ROOT
from workerlab.compose import STACKS, Compose

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
PORTS = {"dev": 8020, "stg": 8030, "prod": 8040}
WORKERS = {"dev": 1, "stg": 2, "prod": 4}
SHOWN = ROOT / "docs" / "assets" / "recordings" / "stacks"
each_stack = pytest.mark.parametrize("name", FILES)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project with all three stacks up: a test may edit its sources."""
    folder = tmp_path_factory.mktemp("stacks")
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
    try:
        for command in UP.values():
            shell(command, folder)
        yield folder
    finally:
        for name, command in DOWN.items():
            if name == "dev" or (folder / "secrets" / name).exists():
                shell(command, folder)


def shell(command: str, folder: Path) -> str:
    """Type *command* in *folder*; on failure show what the apps have logged."""
    done = attempt(command, folder)
    if done.returncode:
        pytest.fail(f"{command}: {done.returncode}\n{done.stderr[-3000:]}{logs(folder)}")
    return done.stdout


def attempt(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def logs(folder: Path) -> str:
    printed = ""
    for file in FILES.values():
        command = f"docker compose -f {file} logs --no-color --tail=20 app"
        printed += attempt(command, folder).stdout
    return printed


def compose(name: str, arguments: str, folder: Path) -> str:
    return shell(f"docker compose -f {FILES[name]} {arguments}", folder)


def get(port: int, path: str, *, data: bytes | None = None) -> tuple[int, str]:
    """Status and text; status 0 when nobody answered."""
    try:
        url = f"http://127.0.0.1:{port}{path}"
        with urllib.request.urlopen(url, data=data, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (OSError, ValueError):
        return 0, ""


def workers(port: int) -> list[int]:
    status, text = get(port, "/whoami")
    return list(json.loads(text)["workers"]) if status == 200 else []


def wait_for_workers(port: int, count: int) -> list[int]:
    found: list[int] = []

    def all_there() -> bool:
        found[:] = workers(port)
        return len(found) == count

    wait_until(all_there, f"{count} workers on {port}", 300)
    return found


@each_stack
def test_stack_is_ready_on_its_port(copy: Path, name: str) -> None:
    """All three services answer it, and its own environment answers on its port."""
    status, text = get(PORTS[name], "/readyz")
    names = ("REDIS_URL", "DATABASE_URL", "MEMCACHED_URL")
    assert (status, json.loads(text)) == (200, dict.fromkeys(names, "ok"))
    environment = {"dev": "開発", "stg": "ステージング", "prod": "本番"}[name]
    assert json.loads(get(PORTS[name], "/whoami")[1])["environment"] == environment
    assert STACKS[f"stack:{name}"].port == PORTS[name]


@each_stack
def test_stack_runs_its_number_of_workers(copy: Path, name: str) -> None:
    """1, 2 and 4; the start page says so."""
    wait_for_workers(PORTS[name], WORKERS[name])
    assert f'id="workers">{WORKERS[name]}<' in get(PORTS[name], "/")[1]


@each_stack
def test_every_topic_starts(copy: Path, name: str) -> None:
    """With the three services none is missing, and both variants are on the page."""
    page = get(PORTS[name], "/")[1]
    assert "使えません" not in page
    for topic in catalog.topics():
        for variant in catalog.VARIANTS:
            assert f"/topics/{topic.slug}/{variant}" in page


def test_documents_are_where_the_site_says(copy: Path) -> None:
    """The table of docs/solutions/openapi.md, row by row."""
    page = (ROOT / "docs" / "solutions" / "openapi.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| `http://localhost:(\d+)/docs` \| (\S+) \|", page)
    assert len(rows) == 3
    for port, shown in rows:
        wanted = {"見せる": 200, "見せない": 404}[shown]
        for path in ("/docs", "/openapi.json", "/topics/in_memory_counter/bad/docs"):
            assert get(int(port), path)[0] == wanted, (port, path)


def test_edit_is_live_in_dev(copy: Path) -> None:
    """What is saved on this side is served by the container, without a command."""
    source = copy / "examples" / "start_page.py"
    before = source.read_text(encoding="utf-8")
    edited = "書き替えた実験"
    source.write_text(before.replace("<h2>実験</h2>", f"<h2>{edited}</h2>"), "utf-8")
    wait_until(lambda: edited in get(8020, "/")[1], "the edited page", 120)
    assert edited not in get(8030, "/")[1]
    source.write_text(before, encoding="utf-8")
    wait_until(lambda: edited not in (get(8020, "/")[1] or edited), "the page as before", 120)


@pytest.mark.parametrize("name", ["stg", "prod"])
def test_app_is_hardened(copy: Path, name: str) -> None:
    """Not root, no capability, no way to get one, nothing to write to but its own places."""
    status = compose(name, "exec -T app cat /proc/self/status", copy)
    assert re.search(r"^Uid:\s+10001", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    for place, writable in {
        "/srv": False,
        "/opt/venv": False,
        "/data": True,
        "/tmp": True,
    }.items():
        command = f"docker compose -f {FILES[name]} exec -T app touch {place}/x"
        assert (attempt(command, copy).returncode == 0) is writable, place
    assert compose(name, "exec -T app cat /proc/1/comm", copy).strip() == "docker-init"


def test_prod_refuses_to_start_without_secrets(copy: Path, tmp_path: Path) -> None:
    """The files are missing: compose names one. They are not given: the app names both."""
    options = "run --rm --no-deps -T -e SECRET_KEY_FILE= -e PGPASSWORD_FILE= app"
    command = f"docker compose -f {FILES['prod']} {options} python -c 'import main'"
    done = attempt(command, copy)
    assert done.returncode == 1
    assert "32 文字以上の秘密が要ります: SECRET_KEY、PGPASSWORD" in done.stderr
    for path in copy.glob("*.yml"):
        shutil.copy(path, tmp_path)
    project = f"docker compose -f {FILES['prod']} -p workerlab-refused"
    try:
        done = attempt(f"{project} up --detach db", tmp_path)
        assert done.returncode != 0
        assert "secrets/prod/db_password" in done.stderr
    finally:
        shell(f"{project} down --volumes", tmp_path)


def test_secrets_are_seen_only_where_they_are_variables(copy: Path) -> None:
    """`docker inspect` shows dev's, which is none, and no value of prod's."""

    def inspected(name: str) -> str:
        return shell(f"docker inspect $(docker compose -f {FILES[name]} ps -q)", copy)

    assert "PGPASSWORD=dev-only" in inspected("dev")
    for secret in (copy / "secrets" / "prod").iterdir():
        assert secret.read_text(encoding="utf-8") not in inspected("prod"), secret.name


@pytest.fixture(scope="class")
def drilled(copy: Path) -> Iterator[Compose]:
    """Prod with the drills' topics alone; afterwards with all topics again."""
    with asyncio.Runner() as runner:
        stage = drills.stage(copy)
        yield runner.run(stage.__aenter__())
        runner.run(stage.__aexit__(None, None, None))


class TestDrills:
    """Its fixture ends here, before later tests."""

    @pytest.mark.parametrize("name", drills.DRILLS)
    def test_drill_keeps_its_promises(self, drilled: Compose, name: str) -> None:
        """No more failures than the page says, nothing lost, and all workers back."""
        drill = drills.DRILLS[name]
        trace = asyncio.run(drills.play(drill, drilled))
        for verdict in drills.judge(drill, trace):
            assert verdict.holds, (verdict.invariant.name, verdict.observed)
        found = drills.summary(drill, trace)["measured"]
        assert found["workers"] == 4
        assert found["app_restarted"] == (name in ("kill_server", "restart_app", "stop_app"))
        assert found["acknowledged_orders"] > 0
        assert found.get("workers_while_full", 3) == 3
        assert found.get("exit_status", 0) == 0
        if not drill.keeps_visits:
            assert found["lost_visits"] > 0


def test_valkey_keeps_what_it_appended(copy: Path) -> None:
    """With a log of commands, by default synced every second, it survives kill -9."""
    name = "workerlab-appending"
    run = f"docker run --detach --name {name} --restart unless-stopped --volume /data"
    image = shell(f"docker compose -f {FILES['prod']} config --images cache", copy).strip()
    image_of_app = compose("prod", "images -q app", copy).strip()
    ask = f"docker exec {name} valkey-cli"
    try:
        shell(f"{run} {image} valkey-server --appendonly yes", copy)
        wait_until(lambda: attempt(f"{ask} PING", copy).stdout == "PONG\n", "Valkey", 60)
        assert shell(f"{ask} CONFIG GET appendfsync", copy).split()[1] == "everysec"
        assert shell(f"{ask} -r 500 INCR visits", copy).split()[-1] == "500"
        asyncio.run(kill_first_process(name, image_of_app))
        wait_until(lambda: attempt(f"{ask} GET visits", copy).stdout == "500\n", "500", 60)
        assert shell(f"docker inspect -f '{{{{.RestartCount}}}}' {name}", copy) == "1\n"
    finally:
        shell(f"docker rm --force --volumes {name}", copy)


def test_proxy_answers_in_front_of_prod(copy: Path) -> None:
    """The profile of the page brings it up; the app sees the same paths."""
    shell(PROXY, copy)
    assert get(8041, "/readyz")[0] == 200
    assert json.loads(get(8041, "/whoami")[1])["environment"] == "本番"


@pytest.mark.parametrize("recorded", sorted(SHOWN.glob("*.txt")), ids=lambda path: path.stem)
def test_recorded_experiment_repeats(copy: Path, recorded: Path) -> None:
    """What the page shows: bad holds on dev, breaks on stg and prod; good holds there."""
    name, variant = recorded.stem.split("-")
    shown = recorded.read_text(encoding="utf-8")
    (command, text), (_, status) = runners.transcript_steps(shown)
    assert int(status) == (1 if variant == "bad" and name != "dev" else 0)
    done = attempt(command, ROOT, WORKERLAB_ROOT=str(copy))
    assert done.returncode == int(status), done.stderr
    assert runners.normalise(done.stdout) == runners.normalise(text)
    assert runners.agree(done.stdout, text)
    wait_for_workers(PORTS[name], WORKERS[name])


def test_dev_can_run_two_workers(copy: Path) -> None:
    """With the variable of the page, without reloading."""
    shell(TWO_WORKERS, copy)
    wait_for_workers(8020, 2)
    shell(UP["dev"], copy)
    wait_for_workers(8020, 1)


def test_down_leaves_nothing(copy: Path) -> None:
    """The README's commands: no container, volume, network or image of the projects."""
    for command in DOWN.values():
        shell(command, copy)
    for name in FILES:
        label = f"--filter label=com.docker.compose.project=workerlab-{name}"
        for kind in ("container ls --all", "volume ls", "network ls", "image ls"):
            assert shell(f"docker {kind} --quiet {label}", copy) == "", (name, kind)
