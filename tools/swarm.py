"""Play the drills of the page on several machines against a swarm of one node, and record them.

    tools/docker/with-engine.sh .venv/bin/python tools/swarm.py

The engine must not be in a swarm already: it is made a manager, and leaves at the end. The
commands are those of the page, word for word. `tests/stacks/test_swarm.py` plays the same
drills.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import aiohttp

from workerlab.catalog import ROOT

STACK = "workerlab"
APP = f"{STACK}_app"
FILE = "docker-stack.prod.yml"
URL = "http://127.0.0.1:8050"
SOCKET = "unix:///run/workerlab-docker/docker.sock"
"""Of the engine that tools/docker/with-engine.sh starts: its swarm is ours to leave."""

# -- the commands of the page ------------------------------------------------------------------

PREPARE = "sh tools/docker/secrets.sh prod && docker build --tag workerlab-app:1 ."
BRIDGE = (
    "docker network create --opt com.docker.network.bridge.name=docker_gwbridge"
    " --opt com.docker.network.bridge.enable_icc=false"
    " --opt com.docker.network.bridge.host_binding_ipv4=127.0.0.1 docker_gwbridge"
)
INIT = "docker swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1"
LABEL = "docker node update --label-add data=yes $(docker node ls --quiet)"
DEPLOY = (
    f"docker stack deploy --compose-file {FILE} --resolve-image never --detach=false {STACK}"
)
UP = f"RELEASE=1 {DEPLOY}"
UPDATE = f"docker build --tag workerlab-app:2 . && RELEASE=2 {DEPLOY}"
BAD = f"docker build --tag workerlab-app:3 . && RELEASE=3 {DEPLOY}"
STATUS = f"docker stack ps {STACK}"
DOWN = (
    f"docker stack rm {STACK}",
    "while docker ps --all --quiet --filter label=com.docker.stack.namespace=workerlab"
    " | grep -q .; do sleep 1; done",
    f"docker volume rm {STACK}_db",
    "docker swarm leave --force",
    "docker network rm docker_gwbridge",
    "docker image rm $(docker image ls --format '{{.Repository}}:{{.Tag}}' workerlab-app)",
)
TYPED = {PREPARE, BRIDGE, INIT, LABEL, UP, UPDATE, BAD, STATUS, *DOWN}

TOPICS = "in_memory_counter/good shared_db_connection/good worker_crash/good"
"""Of Valkey, of PostgreSQL, of a file: the app starts faster with these alone."""
START_PERIOD = "10s"
"""What a release that never becomes ready gets before failures count."""


def shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Type *command* in *folder*."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "TOPICS": TOPICS, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def must(command: str, folder: Path = ROOT, **variables: str) -> str:
    """Type *command*, and return what it printed; it has to end with 0."""
    done = shell(command, folder, **variables)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr}")
    return done.stdout.strip()


# -- the swarm ---------------------------------------------------------------------------------


def why_not() -> str:
    """Why the engine can't be used: its swarm, or what a swarm left, belongs to somebody."""
    if must("docker info --format '{{.Swarm.LocalNodeState}}'") != "inactive":
        return (
            "このエンジンは、すでに Swarm に入っています。抜けてよければ、"
            "docker swarm leave --force を実行してください。"
        )
    if must("docker network ls --quiet --filter name=^docker_gwbridge$"):
        return (
            "ほかの Swarm の docker_gwbridge が残っています。消してよければ、"
            "docker network rm docker_gwbridge を実行してください。"
        )
    return ""


def copy_project(folder: Path) -> None:
    """What the commands read: a drill edits a source."""
    names = must("git ls-files examples tools/docker '*.yml' '*.conf' Dockerfile").split()
    for name in [*names, ".dockerignore"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)


@contextlib.contextmanager
def swarm(folder: Path) -> Iterator[None]:
    """The stack with release 1, on a swarm of this engine alone; nothing is left of it."""
    if os.environ.get("DOCKER_HOST") == SOCKET:
        take_down(folder)  # what a run that was killed has left
    if reason := why_not():
        raise SystemExit(f"swarm: {reason}")
    try:
        for command in (PREPARE, BRIDGE, INIT, LABEL, UP):
            must(command, folder)
        yield
    finally:
        take_down(folder)


def take_down(folder: Path) -> None:
    """Type the commands of the page; those that find nothing left may fail."""
    for command in DOWN:
        shell(command, folder)


def running() -> list[str]:
    """The app's containers that take requests: healthy, and not about to go."""
    return must(
        f"docker ps --quiet --filter label=com.docker.swarm.service.name={APP}"
        " --filter health=healthy"
    ).split()


def releases() -> Counter[str]:
    """How many tasks of the app run each image."""
    wanted = "--filter desired-state=running --format '{{.Image}}'"
    return Counter(must(f"docker service ps {APP} {wanted}").split())


def update_state() -> str:
    """What the last update came to: ``completed``, ``rollback_completed``."""
    return must(f"docker service inspect {APP} --format '{{{{.UpdateStatus.State}}}}'")


def kill_one() -> str:
    """SIGKILL to the first process of one of the app's containers."""
    container = running()[0]
    must(f"docker kill --signal KILL {container}")
    return container


def break_release(folder: Path) -> None:
    """A release that asks for a table which no migration has made: it never gets ready."""
    main = folder / "examples" / "main.py"
    before = main.read_text(encoding="utf-8")
    after = before.replace('"SELECT 1"', '"SELECT 1 FROM not_migrated_yet"')
    assert after != before
    main.write_text(after, encoding="utf-8")


# -- the load ----------------------------------------------------------------------------------

CONNECTIONS = 8
PAUSE = 0.05
"""Seconds between two requests of a connection: the load leaves the machine to the drill."""
READ, COUNT, ORDER = "GET", "POST（Valkey）", "POST（PostgreSQL）"
PATHS = {
    READ: "/topics/in_memory_counter/good/visits",
    COUNT: "/topics/in_memory_counter/good/visits",
    ORDER: "/topics/shared_db_connection/good/orders",
}


@dataclass
class Load:
    """Eight connections that read and write in turn, and what they were told."""

    sent: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    visits: list[int] = field(default_factory=list)
    """The numbers that `COUNT` was given."""
    orders: list[int] = field(default_factory=list)
    """The numbers of the orders that were accepted."""
    seconds: float = 0.0
    stopping: threading.Event = field(default_factory=threading.Event)

    async def run(self) -> None:
        """Ask until `stopping`, then let the requests under way end."""
        await asyncio.gather(*(self.connection(number) for number in range(CONNECTIONS)))

    async def connection(self, number: int) -> None:
        """One client with one connection, which it keeps."""
        timeout = aiohttp.ClientTimeout(total=90)
        async with aiohttp.ClientSession(
            URL, timeout=timeout, connector=aiohttp.TCPConnector(limit=1)
        ) as session:
            turn = number
            while not self.stopping.is_set():
                kind = list(PATHS)[turn % len(PATHS)]
                await self.ask(session, kind, order=time.time_ns() // 1000 % 2**31)
                turn += 1
                await asyncio.sleep(PAUSE)

    async def ask(self, session: aiohttp.ClientSession, kind: str, order: int) -> None:
        """Send one request; whatever is not a success counts as failed."""
        self.sent[kind] += 1
        body = {"number": order, "card_is_valid": True} if kind == ORDER else None
        try:
            async with session.request(kind[:4].strip("（"), PATHS[kind], json=body) as answer:
                answer.raise_for_status()
                told = await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            self.failed[kind] += 1
            return
        if kind == COUNT:
            self.visits.append(told["visits"])
        elif kind == ORDER:
            self.orders.append(told["number"])


@contextlib.contextmanager
def load() -> Iterator[Load]:
    """The load, in a thread of its own, for as long as the block lasts."""
    begun = time.monotonic()
    made = Load()
    thread = threading.Thread(target=lambda: asyncio.run(made.run()))
    thread.start()
    try:
        wait(lambda: sum(made.sent.values()) > 10 * CONNECTIONS, "the load")
        yield made
        enough = sum(made.sent.values()) + 10 * CONNECTIONS
        wait(lambda: sum(made.sent.values()) > enough, "the load after the drill")
    finally:
        made.stopping.set()
        thread.join()
        made.seconds = time.monotonic() - begun


def wait(look: Callable[[], object], what: str, timeout: float = 300.0) -> None:
    """Poll until *look* returns something true."""
    deadline = time.monotonic() + timeout
    while not look():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for: {what}")
        time.sleep(0.1)


def get(path: str, *, method: str = "GET", body: object = None) -> dict[str, object]:
    """The JSON of one answer, asked for on a connection of its own."""

    async def ask() -> object:
        async with (
            aiohttp.ClientSession(URL) as session,
            session.request(method, path, json=body) as answer,
        ):
            answer.raise_for_status()
            return await answer.json()

    told = asyncio.run(ask())
    assert isinstance(told, dict)
    return told


def lost(made: Load, visits_before: int) -> int:
    """Writes that were acknowledged and can't be found; a number given twice is one as well."""
    stored = get(PATHS[READ])["visits"]
    assert isinstance(stored, int)
    orders = get(PATHS[ORDER])["numbers"]
    assert isinstance(orders, list)
    counted = len(made.visits) - min(len(set(made.visits)), stored - visits_before)
    return counted + len(Counter(made.orders) - Counter(orders))


# -- the drills --------------------------------------------------------------------------------


def update(folder: Path) -> None:
    """Release 2 takes the place of release 1, one container after the other."""
    must(UPDATE, folder)
    assert releases() == {"workerlab-app:2": 3}, releases()
    assert update_state() == "completed"


def roll_back(folder: Path) -> None:
    """Release 3 never becomes ready; the swarm goes back to release 2 by itself."""
    break_release(folder)
    done = shell(BAD, folder, START_PERIOD=START_PERIOD)
    wait(lambda: update_state() == "rollback_completed", "the rollback")
    assert releases() == {"workerlab-app:2": 3}, (releases(), done)
    wait(lambda: len(running()) == 3, "three containers")


def kill(folder: Path) -> None:
    """One container dies at once; the swarm starts another."""
    killed = kill_one()
    wait(lambda: len(set(running()) - {killed}) == 3, "three containers")


KILL = "コンテナ 1 つを `SIGKILL` で止める"
DRILLS = {
    "新しい版に入れ替える": update,
    "準備のできない版を出す（自動で戻る）": roll_back,
    KILL: kill,
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the load saw during one drill."""

    drill: str
    seconds: float
    sent: dict[str, int]
    failed: dict[str, int]
    lost: int


def play(drill: str, folder: Path) -> Outcome:
    """One drill under load."""
    before = get(PATHS[READ])["visits"]
    assert isinstance(before, int)
    with load() as made:
        DRILLS[drill](folder)
    return Outcome(
        drill=drill,
        seconds=made.seconds,
        sent=dict(made.sent),
        failed={kind: made.failed[kind] for kind in PATHS},
        lost=lost(made, before),
    )


# -- the recording -----------------------------------------------------------------------------

RECORDED = ROOT / "docs" / "assets" / "recordings" / "swarm" / "drills.json"
TABLE = RECORDED.with_suffix(".txt")


def read(path: Path = RECORDED) -> dict[str, Outcome]:
    """The recorded drills by their names."""
    drills = json.loads(path.read_text(encoding="utf-8"))["drills"]
    return {each["drill"]: Outcome(**each) for each in drills}


def table(path: Path = RECORDED) -> str:
    """The table of the page, with the day and the versions below it."""
    rows = ["| 訓練 | かかった秒 | 送った数 | 失敗した GET | 失敗した POST | 消えた書き込み |"]
    rows.append("| --- | --- | --- | --- | --- | --- |")
    for each in read(path).values():
        failed = each.failed[COUNT] + each.failed[ORDER]
        cells = (each.seconds, sum(each.sent.values()), each.failed[READ], failed, each.lost)
        rows.append(f"| {each.drill} | {' | '.join(f'{cell:.0f}' for cell in cells)} |")
    made = json.loads(path.read_text(encoding="utf-8"))["conditions"]
    versions = "、".join(f"{name} {text}" for name, text in made["versions"].items())
    return "\n".join(
        [*rows, "", f"{made['date']}、{made['cores']} コアのマシン、{versions}。", ""]
    )


def conditions() -> dict[str, object]:
    """Day, machine and versions."""
    proxy = must(
        f"docker ps --quiet --filter label=com.docker.swarm.service.name={STACK}_proxy"
    )
    nginx = must(f"docker exec {proxy} nginx -v 2>&1")
    gunicorn = must(f"docker exec {running()[0]} gunicorn --version")
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "versions": {
            "Docker Engine": must("docker version --format '{{.Server.Version}}'"),
            "nginx": nginx.rpartition("/")[2].split()[0],
            "gunicorn": gunicorn.rpartition(" ")[2].rstrip(")"),
        },
    }


def record() -> None:
    """Play every drill, then write the numbers and the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        with swarm(folder):
            drills = [asdict(play(drill, folder)) for drill in DRILLS]
            made = {"conditions": conditions(), "drills": drills}
    text = json.dumps(made, ensure_ascii=False, indent=1)
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(text + "\n", encoding="utf-8")
    TABLE.write_text(table(), encoding="utf-8")


if __name__ == "__main__":
    record()
