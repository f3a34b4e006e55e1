"""The three compose files, resolved by `docker compose config`, key by key."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from composed import config, flat

from stack_commands import FILES
from workerlab.catalog import ROOT

pytestmark = pytest.mark.docker
PAGE = ROOT / "docs" / "stacks" / "dev_stg_prod.md"


def test_stg_is_prod_but_for_what_is_listed() -> None:
    """Workers, documents, names and ports: nothing else."""
    stg, prod = (flat(config(name)["services"]) for name in ("stg", "prod"))
    differing = {key for key in {*stg, *prod} if stg.get(key) != prod.get(key)}
    assert differing == {
        "/app/environment/ENVIRONMENT",
        "/app/environment/SHOW_DOCS",
        "/app/environment/WEB_CONCURRENCY",
        "/app/ports",
        "/proxy/ports",
        "/prometheus/ports",
    }


def test_dev_differs_from_prod_as_listed() -> None:
    """What only dev has, what only prod has, and what differs."""
    dev, prod = (flat(config(name)["services"]) for name in ("dev", "prod"))
    shared = {key for key in {*dev, *prod} if not key.startswith(("/proxy/", "/prometheus/"))}
    differing = {key for key in shared if dev.get(key) != prod.get(key)}
    hardening = {
        *("/app/cap_drop", "/app/cpus", "/app/pids_limit", "/app/read_only", "/app/user"),
        "/app/stop_grace_period",
        *(
            f"/{service}/{key}"
            for service in ("app", "cache", "db", "memcached")
            for key in ("mem_limit", "restart", "security_opt")
        ),
    }
    secrets = {
        *(f"/app/environment/{key}" for key in ("SECRET_KEY", "SECRET_KEY_FILE")),
        *(f"/app/environment/{key}" for key in ("PGPASSWORD", "PGPASSWORD_FILE")),
        *("/app/environment/REQUIRE_SECRETS", "/app/secrets", "/db/secrets"),
        *(f"/db/environment/{key}" for key in ("POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE")),
    }
    names = ("DEBUG", "ENVIRONMENT", "FORWARDED_ALLOW_IPS", "SHOW_DOCS", "WEB_CONCURRENCY")
    settings = {f"/app/environment/{name}" for name in names}
    served = {"/app/command", "/app/ports", "/app/volumes"}
    assert differing == hardening | secrets | settings | served


@pytest.mark.parametrize("name", FILES)
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    """Every published port is bound to 127.0.0.1, of the app and what stands around it."""
    for service, settings in config(name)["services"].items():
        for port in settings.get("ports", []):
            assert port["host_ip"] == "127.0.0.1"
            assert service in ("app", "proxy", "prometheus")


@pytest.mark.parametrize("name", FILES)
def test_images_have_a_version(name: str) -> None:
    """No image of whatever version is there that day."""
    for service, settings in config(name)["services"].items():
        image = settings.get("image", "")
        assert service == "app" or re.fullmatch(r"\S+:v?\d+(\.\d+)*", image), (service, image)


def test_times_are_in_order() -> None:
    """The container waits longer than the server, the app's connections live longer."""
    app = config("prod")["services"]["app"]
    options = dict(o.removeprefix("--").split("=") for o in app["command"] if "=" in o)
    assert app["stop_grace_period"] == "40s"
    assert int(options["graceful-timeout"]) < 40
    proxy = (ROOT / "nginx.conf").read_text(encoding="utf-8")
    (idle,) = re.findall(r"keepalive_timeout (\d+)s;", proxy)
    assert int(options["keep-alive"]) > int(idle)


def test_table_of_the_page_is_true() -> None:
    """Each cell that the page shows is what compose has read."""
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    shown = {label: cells for label, *cells in rows}
    apps = [config(name)["services"]["app"] for name in FILES]
    settings = [app["environment"] for app in apps]
    facts = {
        "ポート": [app["ports"][0]["published"] for app in apps],
        "ワーカーの数": [each["WEB_CONCURRENCY"] for each in settings],
        "サーバー": [server(app["command"]) for app in apps],
        "`DEBUG`": [each["DEBUG"] for each in settings],
        "`/docs`": ["見せる" if each["SHOW_DOCS"] == "1" else "閉じる" for each in settings],
        "秘密": ["ファイル" if app.get("secrets") else "固定の値" for app in apps],
        "メモリの上限": [limit(app.get("mem_limit")) for app in apps],
        "再起動": [app.get("restart", "しない") for app in apps],
    }
    for label, values in facts.items():
        assert [cell.replace("`", "") for cell in shown[label]] == values, label


def server(command: list[str]) -> str:
    if command[0] == "gunicorn":
        assert "--worker-class=uvicorn_worker.UvicornWorker" in command
        return "gunicorn + uvicorn-worker"
    assert "--reload" in command
    return "uvicorn --reload"


def limit(text: str | None) -> str:
    return f"{int(text) // 1024**3} GB" if text else "なし"


def test_compose_reads_what_the_page_on_stopping_shows(tmp_path: Path) -> None:
    """Whether it runs `pre_stop` is not proved here, and the page says so."""
    page = (ROOT / "docs" / "operations" / "graceful_shutdown.md").read_text("utf-8")
    (shown,) = re.findall(r"```yaml title=.*?\n(.*?)```", page, flags=re.DOTALL)
    file = tmp_path / "compose.yml"
    file.write_text(shown.replace("  app:\n", "  app:\n    image: app\n", 1), encoding="utf-8")
    command = ("docker", "compose", "--file", str(file), "config", "--format", "json")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    app = json.loads(done.stdout)["services"]["app"]
    assert app["stop_grace_period"] == "30s"
    assert "touch /run/app/draining" in app["pre_stop"][0]["command"][-1]
