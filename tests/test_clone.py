"""A newcomer's first minutes: a clean clone of what is committed, the README's commands."""

import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers import wait_until
from workerlab.catalog import ROOT

pytestmark = [pytest.mark.clone, pytest.mark.timeout(900)]
SETUP_NOTE = "を準備しています"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of HEAD: what is not committed is not there."""
    folder = tmp_path_factory.mktemp("clone") / "workerlab"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    return folder


def bare_environment() -> dict[str, str]:
    """No virtual environment of ours on PATH, nothing that only this test run has."""
    kept = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "MAKEFLAGS")}
    path = [p for p in kept["PATH"].split(os.pathsep) if ".venv" not in p]
    return {**kept, "PATH": os.pathsep.join(path), "PORT": "0"}


@contextmanager
def make_serve(
    clone: Path, target: str = "serve", stop: signal.Signals = signal.SIGINT, **settings: str
) -> Iterator[tuple[str, str]]:
    """``make serve`` as typed; gives the address and what was printed until then.

    Args:
        settings: Environment variables.
    """
    with (clone / "serve.log").open("w+") as output:
        process = subprocess.Popen(
            ["make", target],
            cwd=clone,
            env={**bare_environment(), **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def printed() -> str:
            return (clone / "serve.log").read_text(encoding="utf-8")

        def address() -> str | None:
            assert process.poll() is None, printed()
            found = re.search(r"http://127\.0\.0\.1:\d+/\S*", printed())
            return found and found[0]

        try:
            yield wait_until(address, "the address", timeout=600), printed()
        finally:
            os.killpg(process.pid, stop)
            process.wait(30)


def test_make_serve_shows_the_site(clone: Path) -> None:
    """The first call sets up, builds and serves; the page holds the recorded failure."""
    with make_serve(clone) as (url, printed):
        assert SETUP_NOTE in printed
        with urllib.request.urlopen(url, timeout=10) as response:
            assert "wl-timeline" in response.read().decode()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)


def test_second_make_serve_installs_nothing(clone: Path) -> None:
    """It starts in a few seconds because there is nothing left to set up."""
    with make_serve(clone) as (url, printed):
        assert SETUP_NOTE not in printed
        assert urllib.request.urlopen(url, timeout=10).status == 200


def test_make_notebook_opens_lab(clone: Path) -> None:
    """The first call installs JupyterLab; its address shows the folder of the notebooks."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])  # JupyterLab prints the 0 that it was given
    settings = {"PORT": port, "NOTEBOOK_OPTIONS": "--no-browser"}
    with make_serve(clone, "notebook", signal.SIGTERM, **settings) as (url, printed):
        assert "JupyterLab を入れています" in printed
        assert "/lab/tree/notebooks" in url
        # JupyterLab prints its address, then listens.
        shown = wait_until(lambda: shown_at(url), f"an answer of {url}", 60)
        assert "<title>JupyterLab</title>" in shown


def shown_at(url: str) -> str:
    """The page; empty when nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return str(response.read().decode())
    except OSError:
        return ""


def test_make_test_says_what_it_left_out(clone: Path) -> None:
    """The groups that need a browser or a clone are named, with the command for them."""
    done = subprocess.run(
        [".venv/bin/pytest", "-q", "--collect-only", "-m", "not browser and not clone"],
        cwd=clone,
        env=bare_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "ブラウザーの実物（Chromium）が要るテスト" in done.stdout
    assert "make test-all" in done.stdout


def test_clone_is_clean_afterwards(clone: Path) -> None:
    """Everything that the commands make is ignored by git."""
    (clone / "serve.log").unlink()
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert status.stdout == ""


def test_too_old_python_is_told_in_one_line(clone: Path, tmp_path: Path) -> None:
    """No suitable Python on PATH, on disk or through uv: one clear line, status 2."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for tool in ("sh", "cat", "cksum", "dirname", "id", "grep", "tail"):
        (binaries / tool).symlink_to(f"/usr/bin/{tool}" if tool != "cat" else "/bin/cat")
    old = binaries / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # too old: the version check fails
    old.chmod(0o755)
    subprocess.run(["git", "clone", "--quiet", clone, tmp_path / "fresh"], check=True)
    done = subprocess.run(
        ["sh", "tools/setup.sh"],
        cwd=tmp_path / "fresh",
        env={"PATH": str(binaries), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Python 3.12 以上" in done.stderr
    assert not (tmp_path / "fresh" / ".venv").exists()
