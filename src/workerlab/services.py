"""What an experiment may name in `Experiment.needs`, and how it is started."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from workerlab.files import files
from workerlab.memcached import memcached
from workerlab.postgres import account_exists, find_binaries, postgres
from workerlab.service import Service
from workerlab.valkey import valkey

SERVICES: dict[str, Callable[[], AbstractAsyncContextManager[Service]]] = {
    "files": files,
    "memcached": memcached,
    "postgres": postgres,
    "redis": valkey,
}


def missing(needs: frozenset[str]) -> list[str]:
    """Those of *needs* that this machine cannot give; for tests that say what they skip."""
    available = {
        "files": True,
        "memcached": shutil.which("memcached") is not None,
        "postgres": find_binaries() is not None and account_exists(),
        "redis": True,
    }
    return sorted(need for need in needs if not available[need])
