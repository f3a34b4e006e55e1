"""What several tests need: run the command line, and look for what it left behind."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from workerlab.catalog import ROOT

MARK = "WORKERLAB_TEST_MARK"
"""Variable that every process of one command line inherits, so that it can be found."""
APPS = Path(__file__).parent / "engine" / "apps"


@dataclass
class Command:
    """One run of ``workerlab``, with everything that it starts findable by its mark."""

    arguments: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    pid: int = 0
    """The session that `start` opened; Valkey overwrites its environment, not its session."""

    def start(self) -> subprocess.Popen[str]:
        """Start it in a process group of its own, as a shell does."""
        process = subprocess.Popen(
            [sys.executable, "-m", "workerlab", *self.arguments],
            cwd=ROOT,
            env={**os.environ, **self.env, MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = process.pid
        return process

    def run(self, timeout: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        with self.start() as process:
            out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def processes(self, *words: str) -> list[psutil.Process]:
        """Its living processes whose command line has all *words*."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if not self._owns(process) or process.status() == psutil.STATUS_ZOMBIE:
                    continue
                line = " ".join(process.cmdline())
                if all(word in line for word in words):
                    found.append(process)
        return found

    def _owns(self, process: psutil.Process) -> bool:
        if process.pid == 1 or not self.pid:  # session 0 is the kernel's: never ours
            return False
        return process.environ().get(MARK) == self.mark or os.getsid(process.pid) == self.pid

    def assert_nothing_left(self) -> None:
        """No process is left, hence no port: a port lives as long as its process."""
        left = [" ".join(process.cmdline()) for process in self.processes()]
        assert left == []


def workerlab(*arguments: str, env: Mapping[str, str] | None = None) -> Command:
    """A command line, not started yet."""
    return Command(arguments, env or {})


def assert_one_line_error(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Status 2, exactly one line on stderr that holds *words*, no traceback, no result."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("workerlab: ")
    for word in words:
        assert word in lines[0], (word, lines[0])


def wait_until[T](look: Callable[[], T], what: str, timeout: float = 30.0) -> T:
    """Poll until *look* returns something true; fail with *what* after *timeout* seconds."""
    deadline = time.monotonic() + timeout
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited {timeout:g} s for: {what}"
        time.sleep(0.02)  # between two looks, not instead of one
    return seen


@contextlib.contextmanager
def running(command: Command) -> Iterator[subprocess.Popen[str]]:
    """A started command; whatever it leaves is killed when the block ends."""
    process = command.start()
    try:
        yield process
    finally:
        for each in (process, *command.processes()):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                each.kill()
        process.communicate()


def named_tests(page: Path) -> list[tuple[str, str]]:
    """File below ``tests/`` and function of every `` `file.py::test_name` `` on a page."""
    return re.findall(r"`([\w/]+\.py)::(test_\w+)`", page.read_text(encoding="utf-8"))


def has_test(file: str, name: str) -> bool:
    """Whether *file*, below ``tests/``, defines the test *name*."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def file_of_tests(page: str) -> str:
    """The file, below ``tests/``, of the tests about a page's topic."""
    names = (f"examples/test_{page}.py", f"docs/test_{page}_page.py", f"docs/test_{page}.py")
    return next(name for name in names if (ROOT / "tests" / name).is_file())


def build(folder: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    """Build the site into *folder*, strictly."""
    return subprocess.run(
        [ROOT / ".venv/bin/mkdocs", "build", "--strict", "-f", config, "-d", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
