"""What runs a fenced block: one function per language, chosen by the block alone."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from pytest_examples import CodeExample, EvalExample

import stack_commands
from fences import Fence
from helpers import has_test, wait_until
from workerlab import catalog, recording
from workerlab.catalog import ROOT

SNIPPET_FOLDERS = (ROOT / "examples", recording.FOLDER, ROOT)
"""As ``base_path`` in mkdocs.yml."""
COMMAND_TIMEOUT = 120
TESTED_TOOLS = {
    ROOT / "tools" / name: ROOT / "tests" / "docs" / "test_how_many_workers_page.py"
    for name in ("cpu_quota.py", "sweep_app.py")
}
"""Tools that a page shows, and the test that runs them."""
STACK_FILES = {
    **{
        ROOT / name: ROOT / "tests" / "stacks" / "test_compose_files.py"
        for name in (*stack_commands.FILES.values(), "nginx.conf")
    },
    **dict.fromkeys(
        (recording.FOLDER / "stacks").glob("*.txt"),
        ROOT / "tests" / "stacks" / "test_stacks.py",
    ),
    ROOT / "docker-stack.prod.yml": ROOT / "tests" / "stacks" / "test_stack_file.py",
    ROOT / "nginx-stack.conf": ROOT / "tests" / "stacks" / "test_stack_file.py",
    ROOT / "examples" / "wait_for_services.py": ROOT / "tests" / "stacks" / "test_swarm.py",
    **dict.fromkeys(
        (ROOT / "kubernetes").glob("*.yaml"), ROOT / "tests" / "stacks" / "test_kubernetes.py"
    ),
    ROOT / "tools" / "drill_load.py": ROOT / "tests" / "stacks" / "test_stacks.py",
    ROOT / "examples" / "main.py": ROOT / "tests" / "engine" / "test_main.py",
    ROOT / "Dockerfile": ROOT / "tests" / "stacks" / "test_stacks.py",
}
"""What the page on the stacks shows, and the test that runs or repeats it."""


def run(fence: Fence, eval_example: EvalExample) -> None:
    """Prove the block, or fail because nothing can."""
    if fence.include:
        run_included(fence)
    elif fence.path.parent == ROOT / "docs" / "notebooks" and fence.language == "python":
        run_notebook_cell(fence)
    elif fence.language in RUNNERS:
        RUNNERS[fence.language](fence, eval_example)
    else:
        pytest.fail(f"{fence}: no runner for language {fence.language!r}; add one or change it")


# -- included files: proven where they lie --------------------------------------------------


def run_included(fence: Fence) -> None:
    """The file exists, has the region, and something of ours runs or derives it."""
    assert fence.include is not None
    name, region = fence.include.groups()
    path = next((f / name for f in SNIPPET_FOLDERS if (f / name).is_file()), None)
    assert path is not None, f"{fence}: {name} is not in {[str(f) for f in SNIPPET_FOLDERS]}"
    text = path.read_text(encoding="utf-8")
    if region:
        assert f"[start:{region}]" in text, f"{fence}: {name} has no region {region!r}"
        assert f"[end:{region}]" in text, f"{fence}: region {region!r} of {name} has no end"
    assert path in proven_files(), f"{fence}: no test runs {name}"


@functools.cache
def proven_files() -> set[Path]:
    """Files that other tests run (examples) or derive and compare (recordings)."""
    files = {tool for tool, test in TESTED_TOOLS.items() if test.is_file()}
    files.update(path for path, test in STACK_FILES.items() if test.is_file())
    for topic in catalog.topics():
        if (ROOT / "tests" / "examples" / f"test_{topic.slug}.py").is_file():
            files.update(topic.folder.glob("*.py"), (fake.path for fake in topic.fakes))
        files.update(recording.derived(topic))
        paths = recording.Paths(topic=topic)
        files.update(paths.included(name) for name in recording.commands(topic))
    return files


# -- Python -----------------------------------------------------------------------------------


def run_python(fence: Fence, eval_example: EvalExample) -> None:
    """Execute with pytest-examples, and count the ``#>`` lines that it would let pass.

    A ``#>`` line that no print produced is stale: pytest-examples 0.0.18 accepts it.
    """
    printed: list[str] = []

    def note(output: str) -> str:
        printed.extend(output.splitlines() or [""])
        return output

    eval_example.print_callback = note
    example = CodeExample.create(fence.body + "\n", path=fence.path, start_line=fence.line)
    eval_example.run_print_check(example)
    claimed = re.findall(r"^[ \t]*#>", fence.body, flags=re.MULTILINE)
    if len(claimed) != len(printed):
        pytest.fail(
            f"{fence}: {len(claimed)} lines of #> output, but {len(printed)} were printed: "
            f"{printed}",
            pytrace=False,
        )


def run_notebook_cell(fence: Fence) -> None:
    """It is a cell of the notebook of this page, which `make test-notebooks` executes whole."""
    text = (ROOT / "notebooks" / f"{fence.path.stem}.ipynb").read_text(encoding="utf-8")
    cells = ("".join(cell["source"]) for cell in json.loads(text)["cells"])
    assert fence.body in cells, f"{fence}: no such cell"


# -- shell ------------------------------------------------------------------------------------


def run_bash(fence: Fence, eval_example: EvalExample) -> None:
    """Execute each command in the project's folder; servers are started, asked, stopped."""
    for command in _commands(fence.body):
        if command in STARTED_BY_CI:
            _check_started_by_ci(command)
        elif command == "make notebook":
            assert has_test("test_clone.py", "test_make_notebook_opens_lab")
        elif re.search(r"\bdocker [a-z]", command):
            assert command in stack_commands.TYPED, f"{fence}: tests/stacks does not type it"
        elif re.match(r"(make serve|\S*uvicorn )", command):
            run_server(command)
        else:
            done = _shell(command)
            assert done.returncode == 0, f"{fence}: {command}\n{done.stdout}"


STARTED_BY_CI = ("make test", "make test-all")
"""These contain this very test; `.ci/run` types them."""


def _check_started_by_ci(command: str) -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    typed = re.search(rf"^stage \w+ {re.escape(command)}$", script, flags=re.MULTILINE)
    assert typed, f".ci/run does not type `{command}`"
    assert _shell(f"make -n {command.removeprefix('make ')}").returncode == 0


def run_server(command: str) -> None:
    """Start a server as a reader would, wait for an answer, end it with Ctrl-C."""
    if "uvicorn" in command:
        command += " --port 0"
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=ROOT,
            env={**os.environ, "PORT": "0"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def address() -> str | None:
            output.seek(0)
            text = output.read()
            assert process.poll() is None, f"{command} ended:\n{text}"
            found = re.search(r"http://127\.0\.0\.1:\d+", text)
            return found and found[0]

        try:
            url = wait_until(address, f"the address of {command}", timeout=COMMAND_TIMEOUT)
            wait_until(lambda: _answers(url), f"an answer from {url}", timeout=60)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise
    wait_until(lambda: not _answers(url), f"{url} to be closed")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/", timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 404  # the example apps have no start page
    except OSError:
        return False


def run_console(fence: Fence, eval_example: EvalExample) -> None:
    """Execute each ``$ command`` and compare what it prints with what the page shows."""
    for command, shown in transcript_steps(fence.body):
        done = _shell(command)
        assert normalise(done.stdout) == normalise(shown), f"{fence}: {command}"
        assert agree(done.stdout, shown), f"{fence}: {command}"
        assert shares(done.stdout) == shares(shown), f"{fence}: the shares were not pasted"


def transcript_steps(text: str) -> list[tuple[str, str]]:
    """Commands (after ``$ ``) and the output shown below each."""
    parts = re.split(r"^\$ (.*)$", text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"output before the first command: {parts[0]!r}"
    return list(zip(parts[1::2], parts[2::2], strict=True))


VERDICT = re.compile(r"^(?P<invariant>.*\S) +\S+ +(?P<verdict>[○×] \S+)$", re.MULTILINE)
WITHIN = re.compile(r"([≤≥] \S+\s+)\S+(\s+○ 成り立つ)$", re.MULTILINE)
SHARES = re.compile(r"\d+ 個のワーカーが応答しました（(\d+(?: / \d+)*) 件）")


def normalise(text: str) -> str:
    """What a race decides becomes ``N``: who answered how often (at least two workers, or the
    command would end with 2) and the observation of a bound. Where an invariant is violated, a
    race also decides what the others show: which of them break on every server, the topic's own
    test says. Everything else must be equal to the digit.
    """
    text = "\n".join(line.rstrip() for line in text.strip().splitlines())
    if violated(text):
        text = VERDICT.sub(r"\g<invariant> N", text)
    text = SHARES.sub("N 個のワーカーが応答しました（N 件）", WITHIN.sub(r"\1N\2", text))
    return re.sub(r"( |─)+", r"\1", text)  # a column is as wide as its numbers are long


def violated(text: str) -> set[str]:
    """The invariants, with what was expected, that a transcript shows as violated."""
    rows = VERDICT.finditer("\n".join(line.rstrip() for line in text.splitlines()))
    return {" ".join(r["invariant"].split()) for r in rows if r["verdict"][0] == "×"}


def agree(fresh: str, shown: str) -> bool:
    """Whether both hold, or an invariant that one shows as violated is so in the other."""
    both = violated(fresh), violated(shown)
    return not any(both) or bool(both[0] & both[1])


def shares(text: str) -> list[int]:
    """How many requests each transcript's workers answered together."""
    return [sum(map(int, re.findall(r"\d+", found))) for found in SHARES.findall(text)]


def _commands(body: str) -> list[str]:
    joined = body.replace("\\\n", " ")
    return [
        line.strip()
        for line in joined.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _shell(command: str) -> subprocess.CompletedProcess[str]:
    shlex.split(command)  # an open quote is an error of the page
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_TIMEOUT,
        check=False,
    )


# -- data -------------------------------------------------------------------------------------


def run_yaml(fence: Fence, eval_example: EvalExample) -> None:
    """It parses and is not empty."""
    assert yaml.safe_load(fence.body) is not None, fence


def run_toml(fence: Fence, eval_example: EvalExample) -> None:
    """It parses and is not empty."""
    assert tomllib.loads(fence.body), fence


def run_json(fence: Fence, eval_example: EvalExample) -> None:
    """It parses."""
    json.loads(fence.body)


def run_dockerfile(fence: Fence, eval_example: EvalExample) -> None:
    """Every line is an instruction that Docker knows, and the first sets a base image."""
    known = {
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK"),
        *("LABEL", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    }
    words = [command.split()[0] for command in _commands(fence.body)]
    assert set(words) <= known, f"{fence}: {sorted(set(words) - known)}"
    assert words[0] in ("FROM", "ARG"), f"{fence}: begins with {words[0]}"


def run_requirements(fence: Fence, eval_example: EvalExample) -> None:
    """Every line is a requirement as pip reads it, or a comment."""
    lines = [re.sub(r"(^|\s+)#.*$", "", line) for line in fence.body.splitlines()]
    assert [Requirement(line) for line in lines if line], fence


RUNNERS: dict[str, Callable[[Fence, EvalExample], None]] = {
    "python": run_python,
    "bash": run_bash,
    "console": run_console,
    "yaml": run_yaml,
    "toml": run_toml,
    "json": run_json,
    "dockerfile": run_dockerfile,
    "requirements": run_requirements,
}
