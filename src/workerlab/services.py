"""What an experiment may name in `Experiment.needs`, and how it is started."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from pathlib import Path

from workerlab.files import files
from workerlab.memcached import memcached
from workerlab.nginx import find_nginx, nginx
from workerlab.postgres import account_exists, find_binaries, postgres
from workerlab.service import Service
from workerlab.valkey import valkey

SERVICES: dict[str, Callable[[], AbstractAsyncContextManager[Service]]] = {
    "files": files,
    "memcached": memcached,
    "nginx": nginx,
    "postgres": postgres,
    "redis": valkey,
}


def missing(needs: frozenset[str]) -> list[str]:
    """Those of *needs* that this machine cannot give; for tests that say what they skip."""
    available = {
        "files": True,
        "memcached": shutil.which("memcached") is not None,
        "nginx": find_nginx() is not None,
        "postgres": find_binaries() is not None and account_exists(),
        "redis": True,
    }
    return sorted(need for need in needs if not available[need])


SERVER_VERSIONS = ("PostgreSQL", "Memcached", "nginx")
"""Names in `used_versions` that the machine decides, not the project's requirements."""


def used_versions(needs: Iterable[str]) -> dict[str, str]:
    """Versions of what an experiment with *needs* runs besides the web stack, by name.

    Valkey and its client are not here: their packages are part of every installation.
    """
    found: dict[str, str] = {}
    if "postgres" in needs and (binaries := find_binaries()):
        found |= {name: version(name) for name in ("sqlalchemy", "psycopg")}
        found["PostgreSQL"] = _printed_version(binaries / "postgres", "--version")
    if "memcached" in needs and (program := shutil.which("memcached")):
        found["Memcached"] = _printed_version(Path(program), "-V")
    if "nginx" in needs and (program := find_nginx()):
        found["nginx"] = _printed_version(Path(program), "-v")
    return found


def _printed_version(program: Path, option: str) -> str:
    printed = subprocess.run([program, option], capture_output=True, text=True, check=True)
    number = re.search(r"\d+(\.\d+)+", printed.stdout + printed.stderr)
    return number[0] if number else "不明"
