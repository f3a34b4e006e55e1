"""The stack on a swarm of one node, with the commands of the page, under load."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import wait_until
from tools import swarm

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
SQLITE = "/topics/worker_crash/good/orders"
ORDERS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the project, its stack up: another's swarm is left alone."""
    folder = tmp_path_factory.mktemp("swarm")
    swarm.copy_project(folder)
    own = os.environ.get("DOCKER_HOST") == swarm.SOCKET
    if not own and (reason := swarm.why_not()):
        pytest.skip(reason)
    with swarm.swarm(folder):
        yield folder


def leftovers() -> list[str]:
    """What a swarm leaves on an engine, ours by its name."""
    mine = "--filter label=com.docker.stack.namespace=workerlab"
    looks = (
        *(f"docker {kind} {mine}" for kind in ("ps --all --quiet", "volume ls --quiet")),
        "docker network ls --quiet --filter name=docker_gwbridge",
        "docker network ls --quiet --filter driver=overlay",
        "docker image ls --quiet workerlab-app",
    )
    return [line for look in looks for line in swarm.must(look).split()]


def in_each(command: str) -> list[str]:
    """What *command* prints in each of the app's containers."""
    return [swarm.must(f"docker exec {each} {command}") for each in swarm.running()]


def upstreams() -> set[str]:
    """The addresses to which the proxy has sent requests, by its log."""
    log = swarm.must(f"docker service logs --raw {swarm.STACK}_proxy 2>&1")
    answered = (line.rpartition('" 200 ')[2].split() for line in log.splitlines())
    return {fields[0] for fields in answered if len(fields) == 2}


def test_three_containers_answer(folder: Path) -> None:
    """The name leads to all three; each knows its own two workers only."""
    assert len(swarm.running()) == 3

    def all_three() -> bool:
        assert swarm.get("/whoami")["environment"] == "本番"
        return len(upstreams()) >= 3

    wait_until(all_three, "an answer of each container", 120)
    workers = swarm.get("/whoami")["workers"]
    assert isinstance(workers, list)
    assert len(workers) == 2


def test_port_is_open_to_this_machine_only(folder: Path) -> None:
    """A stack file can't name the address; the bridge that the page makes first does."""
    options = swarm.must("docker network inspect docker_gwbridge --format '{{json .Options}}'")
    assert json.loads(options)["com.docker.network.bridge.host_binding_ipv4"] == "127.0.0.1"


def test_app_is_hardened_but_for_what_swarm_leaves_out(folder: Path) -> None:
    """Not root, no capability; `no-new-privileges` can't be asked for."""
    for status in in_each("cat /proc/self/status"):
        lines = dict(line.split(":", 1) for line in status.splitlines())
        assert lines["Uid"].split()[0] == "10001"
        assert int(lines["CapEff"], 16) == int(lines["CapBnd"], 16) == 0
        assert lines["NoNewPrivs"].strip() == "0"
    for listed in in_each("stat -c '%u %a' /run/secrets/secret_key"):
        assert listed == "10001 400"


def test_files_are_of_one_container(folder: Path) -> None:
    """SQLite, flock and the metrics of a container see a third; Valkey sees everything."""
    for number in range(ORDERS):
        put(f"{SQLITE}/o{number}", {"yen": 1})
    seen: set[int] = set()

    def two_differ() -> bool:
        seen.add(int(str(swarm.get(SQLITE)["saved"])))
        return len(seen) > 1

    wait_until(two_differ, "two containers with different files", 120)
    assert max(seen) < ORDERS
    before = int(str(swarm.get(swarm.PATHS[swarm.READ])["visits"]))
    for _ in range(ORDERS):
        put(swarm.PATHS[swarm.COUNT], None)
    assert swarm.get(swarm.PATHS[swarm.READ])["visits"] == before + ORDERS


def put(path: str, body: dict[str, int] | None) -> None:
    """PUT a body, or POST nothing."""
    method = "PUT" if body else "POST"
    swarm.get(path, method=method, body=body)


def test_health_asks_for_the_services_only_at_the_start(folder: Path) -> None:
    """Without Memcached no running container is thrown away, and a new one isn't ready."""
    health = json.loads(
        swarm.must(
            f"docker service inspect {swarm.APP}"
            " --format '{{json .Spec.TaskTemplate.ContainerSpec.Healthcheck.Test}}'"
        )
    )
    container = swarm.running()[0]
    script = folder / "health.py"
    script.write_text(health[-1], encoding="utf-8")
    check = f"docker exec --interactive {container} python - <health.py"
    swarm.must(f"docker service scale --detach=false {swarm.STACK}_memcached=0")
    try:
        assert swarm.shell(check, folder).returncode == 0
        swarm.must(f"docker exec {container} rm /run/app/ready")
        assert swarm.shell(check, folder).returncode == 1
    finally:
        swarm.must(f"docker service scale --detach=false {swarm.STACK}_memcached=1")
    wait_until(lambda: swarm.shell(check, folder).returncode == 0, "ready again", 120)
    assert container in swarm.running()


def test_engine_alone_leaves_an_unhealthy_container_as_it_is(folder: Path) -> None:
    """What compose relies on: the restart policy looks at the end of a process only."""
    health = "--health-cmd false --health-interval 1s --health-retries 1"
    run = f"docker run --detach --restart unless-stopped {health} workerlab-app:1 sleep 600"
    container = swarm.must(run)

    def inspected(what: str) -> str:
        return swarm.must(f"docker inspect {container} --format '{{{{.{what}}}}}'")

    try:
        wait_until(
            lambda: int(inspected("State.Health.FailingStreak")) > 2, "three failures", 60
        )
        assert inspected("State.Health.Status") == "unhealthy"
        assert (inspected("State.Running"), inspected("RestartCount")) == ("true", "0")
    finally:
        swarm.must(f"docker rm --force {container}")


def test_app_waits_for_the_services(folder: Path) -> None:
    """It says what is missing, and ends: the swarm starts it again."""
    nowhere = "--env WAIT_SECONDS=0 --env REDIS_URL=redis://127.0.0.1:9/0"
    script = f"{swarm.running()[0]} python wait_for_services.py"
    done = swarm.shell(f"docker exec {nowhere} {script}", folder)
    assert done.returncode == 1
    assert done.stderr.startswith("REDIS_URL につながりません: ")
    assert swarm.must(f"docker exec {script}") == ""


def test_config_is_never_changed_in_place(folder: Path) -> None:
    """Another text needs another name: the swarm refuses, and goes on as before."""
    proxy = folder / "nginx-stack.conf"
    before = proxy.read_text(encoding="utf-8")
    proxy.write_text(before + "# changed\n", encoding="utf-8")
    try:
        done = swarm.shell(swarm.UP, folder)
    finally:
        proxy.write_text(before, encoding="utf-8")
    assert done.returncode == 1
    assert "only updates to Labels are allowed" in done.stderr
    assert swarm.get("/whoami")["environment"] == "本番"


@pytest.mark.parametrize("drill", swarm.DRILLS, ids=["update", "roll_back", "kill"])
def test_drill_keeps_what_the_page_promises(folder: Path, drill: str) -> None:
    """No request fails in an update or a rollback; a kill costs what was in work at most."""
    keeps(drill, swarm.play(drill, folder))


def keeps(drill: str, outcome: swarm.Outcome) -> None:
    """What the page says of each drill."""
    assert outcome.lost == 0, outcome
    assert min(outcome.sent.values()) > 0
    assert outcome.failed[swarm.READ] == 0, outcome  # the proxy asks another container
    if drill == swarm.KILL:
        assert sum(outcome.failed.values()) <= swarm.CONNECTIONS, outcome
    else:
        assert sum(outcome.failed.values()) == 0, outcome


def test_table_of_the_page_is_what_was_recorded() -> None:
    """The table follows from the numbers beside it, and they keep the same promises."""
    recorded = swarm.read()
    assert set(recorded) == set(swarm.DRILLS)
    for drill, outcome in recorded.items():
        keeps(drill, outcome)
    assert swarm.TABLE.read_text(encoding="utf-8") == swarm.table(swarm.RECORDED)


def test_down_leaves_nothing(folder: Path) -> None:
    """The commands of the page: no container, volume, network or image, and no swarm."""
    assert f"{swarm.STACK}_app.1" in swarm.must(swarm.STATUS)
    for command in swarm.DOWN:
        swarm.must(command)
    assert leftovers() == []
    assert swarm.why_not() == ""
