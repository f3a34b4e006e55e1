"""The manifests follow the schema of Kubernetes, and say the same as the compose file."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml
from uvicorn.main import main as uvicorn_command

from workerlab.catalog import ROOT

FOLDER = ROOT / "kubernetes"
VERSION = "1.37"
MANIFESTS = {
    path.stem: yaml.safe_load(path.read_text("utf-8")) for path in FOLDER.glob("*.yaml")
}
COMPOSE = {
    name: yaml.safe_load((ROOT / f"docker-compose.{name}.yml").read_text("utf-8"))["services"][
        "app"
    ]
    for name in ("base", "prod")
}
POD = MANIFESTS["deployment"]["spec"]["template"]["spec"]
(APP,) = POD["containers"]
(WAIT,) = POD["initContainers"]
NAMES = ("REDIS_URL", "DATABASE_URL", "MEMCACHED_URL")


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


def options(command: list[str]) -> dict[str, str]:
    return dict(part.removeprefix("--").split("=", 1) for part in command if "=" in part)


def seconds(probe: str) -> int:
    """How long a probe may fail before Kubernetes acts."""
    window: int = APP[probe]["periodSeconds"] * APP[probe]["failureThreshold"]
    return window


def mebibytes(text: str) -> int:
    factor = {"m": 1, "Mi": 1, "g": 1024, "Gi": 1024}
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()  # type: ignore[union-attr]
    return int(number) * factor[unit]


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_follows_the_schema(name: str) -> None:
    """Strictly: an unknown key is an error, as a typing mistake would be one."""
    kubernetes_validate.validate(MANIFESTS[name], VERSION, strict=True)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("containerPort: 8000", 'containerPort: "8000"'),
        ("failureThreshold: 90", "failureTreshold: 90"),
        ("maxUnavailable: 0", "maxUnavailable: [0]"),
        ("httpGet: {path: /healthz, port: http}", "httpGet: {path: /healthz}"),
    ],
)
def test_wrong_manifest_is_refused(right: str, wrong: str) -> None:
    """A wrong type, an unknown key and a missing key: the schema sees all three."""
    text = (FOLDER / "deployment.yaml").read_text(encoding="utf-8")
    assert right in text
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(
            yaml.safe_load(text.replace(right, wrong)), VERSION, strict=True
        )


def test_names_lead_to_the_app() -> None:
    """Service, autoscaler and budget mean the pods of the deployment."""
    deployment = MANIFESTS["deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["service"]["spec"]["selector"] == labels
    assert MANIFESTS["pdb"]["spec"]["selector"]["matchLabels"] == labels
    (spread,) = POD["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    target = MANIFESTS["hpa"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    (port,) = APP["ports"]
    (served,) = MANIFESTS["service"]["spec"]["ports"]
    assert served["targetPort"] == port["name"]
    assert int(options(APP["command"])["port"]) == port["containerPort"]


def test_stopping_fits_into_its_grace() -> None:
    """preStop and the server's own limit together, as in prod's compose file."""
    _, pause = APP["lifecycle"]["preStop"]["exec"]["command"]
    graceful = options(APP["command"])["timeout-graceful-shutdown"]
    grace = POD["terminationGracePeriodSeconds"]
    assert int(pause) + int(graceful) < grace
    assert COMPOSE["prod"]["stop_grace_period"] == f"{grace}s"
    assert f"--graceful-timeout={graceful}" in COMPOSE["prod"]["command"]


def test_connections_live_longer_than_the_proxys() -> None:
    """Or the proxy sends on a connection that the app is closing."""
    (idle,) = re.findall(r"keepalive_timeout (\d+)s;", (ROOT / "nginx.conf").read_text("utf-8"))
    mine = options(APP["command"])["timeout-keep-alive"]
    assert int(mine) > int(idle)
    assert f"--keep-alive={mine}" in COMPOSE["prod"]["command"]


def test_probes_ask_for_paths_of_the_app() -> None:
    """Readiness asks for the services, liveness doesn't: an outage would kill every pod."""
    main = (ROOT / "examples" / "main.py").read_text(encoding="utf-8")
    paths = {name: APP[name]["httpGet"]["path"] for name in APP if name.endswith("Probe")}
    assert paths == {
        "startupProbe": "/readyz",
        "readinessProbe": "/readyz",
        "livenessProbe": "/healthz",
    }
    for path in paths.values():
        assert f'@app.get("{path}")' in main
    assert {APP[name]["httpGet"]["port"] for name in paths} == {"http"}


def test_windows_are_those_of_the_compose_file() -> None:
    """The start as its healthcheck's, a stuck event loop as gunicorn's."""
    assert COMPOSE["base"]["healthcheck"]["start_period"] == f"{seconds('startupProbe')}s"
    assert f"--timeout={seconds('livenessProbe')}" in COMPOSE["prod"]["command"]


def test_one_process_in_a_container() -> None:
    """No workers, hence the limits of one worker of prod."""
    assert APP["command"][:2] == ["uvicorn", "main:app"]
    assert not any("workers" in part for part in APP["command"])
    assert environment(APP)["WEB_CONCURRENCY"] == "1"
    workers = int(COMPOSE["prod"]["environment"]["WEB_CONCURRENCY"])
    limits = APP["resources"]["limits"]
    assert mebibytes(limits["memory"]) == mebibytes(COMPOSE["prod"]["mem_limit"]) / workers
    assert int(limits["cpu"].removesuffix("m")) == COMPOSE["prod"]["cpus"] / workers * 1000
    assert "cpu" in APP["resources"]["requests"]  # the autoscaler counts in parts of it


def test_options_exist() -> None:
    """Each is one of uvicorn's."""
    known = {name for each in uvicorn_command.params for name in each.opts}
    assert {f"--{name}" for name in options(APP["command"])} <= known


def test_environment_is_that_of_prod_but_for_what_is_listed() -> None:
    """The number of workers, where files may lie, and where secrets are."""
    base, prod = (COMPOSE[name]["environment"] for name in ("base", "prod"))
    there = {**base, **prod}
    here = environment(APP)
    differing = {name for name in {*here, *there} if here.get(name) != there.get(name)}
    assert differing == {
        *("WEB_CONCURRENCY", "DATA_DIR", "TOPICS", "SECRET_KEY_FILE", "PGPASSWORD_FILE")
    }
    assert environment(WAIT) == {name: here[name] for name in NAMES}
    mounted = {each["mountPath"] for each in APP["volumeMounts"]}
    for name in ("SECRET_KEY_FILE", "PGPASSWORD_FILE"):
        folder, _, file = here[name].rpartition("/")
        assert folder in mounted
        assert file in COMPOSE["prod"]["secrets"]
    assert here["RUNTIME_DIRECTORY"] in mounted


def test_container_is_hardened() -> None:
    """The user of the image, no root, nothing to write to but memory, no capability."""
    (uid,) = re.findall(r"useradd --uid (\d+)", (ROOT / "Dockerfile").read_text("utf-8"))
    security = POD["securityContext"]
    assert security["runAsNonRoot"] is True
    assert {security[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {int(uid)}
    for container in (APP, WAIT):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    writable = [each for each in POD["volumes"] if "secret" not in each]
    assert all(each["emptyDir"]["medium"] == "Memory" for each in writable)


def test_there_are_always_enough_pods() -> None:
    """An update starts before it stops, and a machine that is emptied takes one at a time."""
    rolling = MANIFESTS["deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxSurge": 1, "maxUnavailable": 0}
    assert MANIFESTS["pdb"]["spec"]["maxUnavailable"] == 1
    assert MANIFESTS["hpa"]["spec"]["minReplicas"] > 1
    assert "replicas" not in MANIFESTS["deployment"]["spec"]  # or each apply would reset it


def test_table_of_the_page_is_in_the_files() -> None:
    """Whatever a cell shows as code stands in the file of its column."""
    page = (ROOT / "docs" / "stacks" / "kubernetes.md").read_text(encoding="utf-8")
    table = page.partition("{ #table }")[2].partition("</div>")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line[:2] == "| "]
    assert len(rows) > 20
    columns = (
        ("docker-compose.base.yml", "docker-compose.prod.yml"),
        ("docker-stack.prod.yml",),
        tuple(f"kubernetes/{path.name}" for path in FOLDER.glob("*.yaml")),
    )
    for _, *cells in rows:
        for cell, names in zip(cells, columns, strict=True):
            text = "".join((ROOT / name).read_text(encoding="utf-8") for name in names)
            for code in re.findall(r"`([^`]+)`", cell):
                assert code in text, (code, names)
