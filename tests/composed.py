"""The compose files as Compose resolves them, for tests that compare them."""

import functools
import json
import os
import subprocess
from typing import Any

from stack_commands import FILES
from workerlab.catalog import ROOT


@functools.cache
def config(name: str) -> dict[str, Any]:
    """The stack as compose understands it, every profile included."""
    done = subprocess.run(
        [
            *("docker", "compose", "--file", FILES[name], "--profile", "*"),
            *("config", "--format", "json"),
        ],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k not in ("TOPICS", "DEV_WORKERS")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf by its path; a list is one leaf."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    return {k: v for key, each in value.items() for k, v in flat(each, f"{path}/{key}").items()}
