"""The page 「requirements.txt」: its table, its commands, and what it says of them."""

import asyncio
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import fences
from workerlab.catalog import ROOT
from workerlab.servers import SERVERS

PAGE = ROOT / "docs" / "solutions" / "requirements.md"
TEXT = PAGE.read_text(encoding="utf-8")
UV = Path(sys.executable).with_name("uv")


# -- specifiers --------------------------------------------------------------------------------


def table(first: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the page's table whose first column is called *first*."""
    found = re.search(rf"^\| {first} \|.*\n\|.*\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert found
    lines = [found[0].splitlines()[0], *found[1].splitlines()]
    header, *rows = (
        [cell.strip("` ") for cell in line.strip("|").split(" | ")] for line in lines
    )
    return header, rows


def test_table_is_what_packaging_says() -> None:
    """Every cell; and specifiers of one meaning accept the same final versions."""
    header, rows = table("指定")
    parts = (*range(4), 108, 109, 110, 111)
    grid = [
        ".".join(map(str, v)) for n in (2, 3, 4) for v in itertools.product(parts, repeat=n)
    ]
    assert len(rows) == 7
    for specifier, same, *cells in rows:
        accepts = SpecifierSet(specifier)
        assert cells == ["○" if v in accepts else "×" for v in header[2:]], specifier
        if same != "なし":
            other = SpecifierSet(same)
            assert [v for v in grid if v in accepts] == [v for v in grid if v in other], same


def test_cases_of_the_box_are_what_packaging_says() -> None:
    """tests/lab/pep440.test.mjs compares the page's box with this file."""
    command = [sys.executable, ROOT / "tools" / "pep440_cases.py"]
    fresh = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    stored = (ROOT / "tests" / "lab" / "pep440-cases.json").read_text(encoding="utf-8")
    assert json.loads(stored) == json.loads(fresh), "make it anew with tools/pep440_cases.py"


# -- this repository as the example ------------------------------------------------------------


def requirements_in(text: str) -> list[Requirement]:
    lines = (re.sub(r"(^|\s+)#.*$", "", line) for line in text.splitlines())
    return [Requirement(line) for line in lines if line]


def test_excerpt_is_from_our_own_file() -> None:
    """The lines that the page shows stand in requirements.in."""
    (excerpt,) = (f.body for f in fences.find(PAGE) if f.language == "requirements")
    ours = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    assert set(excerpt.splitlines()) <= set(ours)


def test_lock_pins_everything_with_hashes() -> None:
    """All that we chose and more, each with one version and at least one hash."""
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    entries = re.findall(
        r"^([\w.-]+)==\S+(?: ; .+)? \\\n((?: +--hash=.+\n)+)", lock, re.MULTILINE
    )
    pinned = {name.lower() for name, _ in entries}
    chosen = {r.name.lower() for r in requirements_in((ROOT / "requirements.in").read_text())}
    assert chosen < pinned
    assert len(entries) == len(re.findall(r"^\S+==", lock, re.MULTILINE))


def test_make_lock_runs_the_script() -> None:
    """The page names `make lock` and tools/lock.sh, which compiles with hashes."""
    done = subprocess.run(["make", "-n", "lock"], cwd=ROOT, capture_output=True, text=True)
    assert "sh tools/lock.sh" in done.stdout
    script = (ROOT / "tools" / "lock.sh").read_text(encoding="utf-8")
    assert "uv pip compile" in script
    assert "--generate-hashes" in script


# -- commands, without a network ---------------------------------------------------------------


def wheel(folder: Path, name: str, version: str, needs: str = "", code: str = "") -> Path:
    """A package of one empty module, as an index would give it."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": metadata + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{name}-{version}-py3-none-any.whl"
    record = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, content)
    return path


class Project:
    """A folder with requirements.in and an environment, and an index that is a folder."""

    def __init__(self, home: Path) -> None:
        self.home = home / "project"
        self.index = home / "index"
        self.index.mkdir()
        self.home.mkdir()
        for version in ("0.165.0", "0.166.0"):
            wheel(self.index, "fastapi", version, needs="starlette>=1.10")
        wheel(self.index, "starlette", "1.10.0")
        wheel(self.index, "leftover", "1.0")
        self.write("requirements.in", "fastapi~=0.165.0\n")
        self.run("uv venv")

    def write(self, name: str, text: str) -> None:
        (self.home / name).write_text(text, encoding="utf-8")

    def run(self, command: str, *, fails: bool = False) -> str:
        """What the command prints; `uv` and `pip` are ours and act on the project."""
        program, *arguments = shlex.split(command)
        programs = {
            "uv": [UV],
            "pip": [sys.executable, "-m", "pip", "--python", self.home / ".venv"],
        }
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("UV_", "PIP_"))},
            **{"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(self.index), "UV_NO_CONFIG": "1"},
            **{"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index)},
            **{"PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_CACHE_DIR": str(self.home / "cache")},
            "UV_PYTHON": sys.executable if "venv" in command else str(self.home / ".venv"),
        }
        environment.pop("VIRTUAL_ENV", None)
        done = subprocess.run(
            [*programs[program], *arguments],
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode != 0) == fails, (command, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def installed(self) -> dict[str, str]:
        listed = json.loads(self.run("pip list --format=json"))
        return {package["name"]: package["version"] for package in listed}

    def locked(self) -> dict[str, str]:
        text = (self.home / "requirements.txt").read_text(encoding="utf-8")
        return dict(re.findall(r"^([\w-]+)==([\w.]+)", text, re.MULTILINE))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def commands() -> dict[str, str]:
    """By purpose, as the page lists them."""
    return dict(table("すること")[1])


def test_commands_of_the_page_work(project: Project) -> None:
    """All eight, in the page's order, each doing what its row says."""
    steps = commands()
    assert len(steps) == 8
    project.run(steps["固定する"])
    assert project.locked() == {"fastapi": "0.165.0", "starlette": "1.10.0"}
    assert "--hash" not in (project.home / "requirements.txt").read_text()
    project.run("pip install leftover")
    project.run(steps["入れる。書いていないものは残す"])
    assert project.installed() == {**project.locked(), "leftover": "1.0"}
    frozen = project.run(steps["いま入っているものを書き出す"])
    assert "leftover==1.0" in frozen
    project.run(steps["ハッシュも書く"])
    assert (project.home / "requirements.txt").read_text().count("--hash") == 2
    project.run(steps["入れる。書いていないものは消す"])
    assert project.installed() == project.locked()
    project.run(steps["ハッシュを確かめて入れる"])
    assert "No broken requirements" in project.run(steps["矛盾がないかを調べる"])
    wheel(project.index, "fastapi", "0.165.1", needs="starlette>=1.10")
    wheel(project.index, "starlette", "1.10.1")
    project.run(steps["固定する"])
    assert project.locked() == {"fastapi": "0.165.0", "starlette": "1.10.0"}
    project.run(steps["1 つだけ新しくする"])
    assert project.locked() == {"fastapi": "0.165.1", "starlette": "1.10.0"}
    project.run(steps["固定する"].replace("compile", "compile --upgrade"))
    assert project.locked() == {"fastapi": "0.165.1", "starlette": "1.10.1"}


def test_pin_of_one_package_leaves_the_others_open(project: Project) -> None:
    """The same file with == gives another starlette once there is a newer one."""
    project.write("requirements.txt", "fastapi==0.165.0\n")
    report = "pip install --dry-run -r requirements.txt"
    assert "starlette-1.10.0" in project.run(report)
    wheel(project.index, "starlette", "1.11.0")
    assert "starlette-1.11.0" in project.run(report)


def test_hashes_refuse_what_has_none_and_what_is_other(project: Project) -> None:
    """Nothing at all is installed in both cases."""
    steps = commands()
    project.run(steps["ハッシュも書く"])
    good = (project.home / "requirements.txt").read_text()
    project.write("requirements.txt", good + "leftover==1.0\n")
    assert "hash" in project.run(steps["ハッシュを確かめて入れる"], fails=True)
    assert project.installed() == {}
    project.write("requirements.txt", good)
    wheel(project.index, "starlette", "1.10.0", code="print('other')\n")
    assert "DO NOT MATCH" in project.run(steps["ハッシュを確かめて入れる"], fails=True)
    assert project.installed() == {}


def test_pip_and_uv_take_a_prerelease_only_when_named(project: Project) -> None:
    """As the page says of `packaging`, so for the two installers."""
    wheel(project.index, "fastapi", "0.167.0rc1", needs="starlette>=1.10")
    for specifier, version in ((">=0.165", "0.166.0"), (">=0.167.0rc1", "0.167.0rc1")):
        project.write("requirements.in", f"fastapi{specifier}\n")
        assert f"fastapi=={version}" in project.run("uv pip compile requirements.in")
        assert f"fastapi-{version}" in project.run("pip install --dry-run -r requirements.in")


# -- workers -----------------------------------------------------------------------------------

APP = """
import library
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def read_version() -> str:
    return library.VERSION
"""


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn-asgi"])
def test_restarted_worker_reads_what_was_installed_over(server: str, tmp_path: Path) -> None:
    """A package replaced under a running server: the new worker has another version."""
    (tmp_path / "library.py").write_text("VERSION = 'old'\n", encoding="utf-8")
    (tmp_path / "shop.py").write_text(APP, encoding="utf-8")

    async def ask() -> set[str]:
        async with SERVERS[server]("shop:app", workers=2, cwd=tmp_path) as cluster:
            (tmp_path / "library.py").write_text("VERSION = 'newer'\n", encoding="utf-8")
            await cluster.kill((await cluster.workers())[0])
            seen: set[str] = set()
            async with asyncio.timeout(60):
                while len(seen) < 2:
                    answer = await cluster.request("GET", "/", step="get")
                    if answer.ok:
                        seen.add(answer.body)
            return seen

    assert asyncio.run(ask()) == {"old", "newer"}
