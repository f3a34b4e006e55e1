"""docker-stack.prod.yml is docker-compose.prod.yml but for what is listed here, key by key."""

import functools
import os
import re
import subprocess
from typing import Any

import composed
import pytest
import yaml

from tools import swarm
from workerlab.catalog import ROOT

pytestmark = pytest.mark.docker
NOT_IN_SWARM = {"build", "depends_on", "entrypoint", "ports", "profiles", "security_opt"}
"""Keys of compose that a stack file has no counterpart for, or another one."""


@functools.cache
def stack() -> dict[str, Any]:
    """The services as `docker stack deploy` understands them."""
    done = subprocess.run(
        ["docker", "stack", "config", "--compose-file", swarm.FILE],
        cwd=ROOT,
        env={**os.environ, "RELEASE": "1", "TOPICS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return loaded


def from_compose(service: dict[str, Any]) -> dict[str, Any]:
    """A service of the compose file, in the words of a stack file."""
    made = {k: v for k, v in service.items() if k not in NOT_IN_SWARM and v is not None}
    limits = {"cpus": "cpus", "mem_limit": "memory", "pids_limit": "pids"}
    made["limits"] = {new: str(made.pop(old)) for old, new in limits.items() if old in made}
    made["restarts"] = made.pop("restart") == "unless-stopped"
    made["secrets"] = {each["source"] for each in made.get("secrets", [])}
    made["writable"] = {each.partition(":")[0] for each in made.pop("tmpfs", [])}
    made["volumes"] = {
        (each["source"], each["target"])
        for each in made.get("volumes", [])
        if each["type"] == "volume"
    }
    return {k: v for k, v in made.items() if k != "networks"}


def from_stack(service: dict[str, Any]) -> dict[str, Any]:
    """A service of the stack file, in the same words."""
    made = dict(service)
    deploy = made.pop("deploy")
    made["limits"] = {
        k: str(v) for k, v in deploy.get("resources", {}).get("limits", {}).items()
    }
    made["restarts"] = deploy["restart_policy"]["condition"] == "any"
    made["secrets"] = {each["source"] for each in made.get("secrets", [])}
    volumes = made.get("volumes", [])
    made["writable"] = {each["target"] for each in volumes if each["type"] == "tmpfs"}
    made["volumes"] = {
        (each["source"], each["target"]) for each in volumes if each["type"] == "volume"
    }
    return {k: v for k, v in made.items() if k not in ("networks", "ports")}


def test_stack_is_prod_but_for_what_is_listed() -> None:
    """Each difference has its reason: the number of containers, or what Swarm can't do."""
    prod = dict(composed.config("prod")["services"])
    del prod["prometheus"]  # a profile of the compose file only
    assert set(stack()) == set(prod)
    here = composed.flat({name: from_stack(each) for name, each in stack().items()})
    there = composed.flat({name: from_compose(each) for name, each in prod.items()})
    differing = {key for key in {*here, *there} if here.get(key) != there.get(key)}
    assert differing == {
        "/app/image",  # no build: every machine takes the same image by its tag
        "/app/command",  # waits for the services itself; the rest is compared below
        "/app/environment/WEB_CONCURRENCY",
        "/app/environment/DATA_DIR",  # no folder that two containers share
        "/app/volumes",
        "/app/healthcheck/test",  # Swarm kills what fails it: readiness once, then liveness
        "/app/limits/cpus",  # per worker as in prod
        "/app/limits/memory",
        "/proxy/configs",  # instead of a mounted file
    }


def test_server_is_the_same() -> None:
    """After the wait, the stack runs gunicorn with the options of prod, in their order."""
    shell, option, line = stack()["app"]["command"]
    assert (shell, option) == ("sh", "-c")
    wait, command = line.split(" && exec ")
    assert wait == "python wait_for_services.py"
    assert command.split() == composed.config("prod")["services"]["app"]["command"]


def test_limits_are_the_same_for_each_worker() -> None:
    """Half the workers in a container, half of its memory and of its processors."""
    prod = composed.config("prod")["services"]["app"]
    app = stack()["app"]
    limits = app["deploy"]["resources"]["limits"]
    mine = int(app["environment"]["WEB_CONCURRENCY"])
    theirs = int(prod["environment"]["WEB_CONCURRENCY"])
    assert int(limits["memory"]) / mine == int(prod["mem_limit"]) / theirs
    assert float(limits["cpus"]) / mine == float(prod["cpus"]) / theirs


def test_names_lead_to_containers() -> None:
    """No virtual address: it needs IPVS in the kernel; the port is one of the machine's."""
    for name, service in stack().items():
        assert service["deploy"]["endpoint_mode"] == "dnsrr", name
    ports = [port for service in stack().values() for port in service.get("ports", [])]
    assert ports == [{"mode": "host", "target": 80, "published": 8050}]
    assert swarm.URL.endswith(":8050")


def test_services_with_a_volume_stay_on_their_machine() -> None:
    """A volume is a folder of one machine; a copy elsewhere would begin empty."""
    kept = {name for name, each in stack().items() if from_stack(each)["volumes"]}
    assert kept == {"db"}
    for name in kept:
        placed = stack()[name]["deploy"]["placement"]["constraints"]
        assert placed == ["node.labels.data == yes"]
        assert "--label-add data=yes" in swarm.LABEL


def test_proxies_differ_in_how_they_find_the_app() -> None:
    """The stack's forgets addresses at once, faster than Swarm stops a container."""
    base, mine = (
        (ROOT / name).read_text("utf-8") for name in ("nginx.conf", "nginx-stack.conf")
    )
    headers = re.findall(r"proxy_set_header (\S+ \S+);", base)
    assert headers == re.findall(r"proxy_set_header (\S+ \S+);", mine)
    (seconds,) = re.findall(r"resolver 127\.0\.0\.11 valid=(\d+)s;", mine)
    assert int(seconds) < 2  # Swarm takes it off the names, then waits 2 s before SIGTERM
    assert "non_idempotent" not in mine


def test_compose_file_itself_is_refused() -> None:
    """Why there are two files: `docker stack deploy` can't read the other one."""
    done = subprocess.run(
        ["docker", "stack", "config", "--compose-file", "docker-compose.prod.yml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
