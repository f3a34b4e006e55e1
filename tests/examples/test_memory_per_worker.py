"""memory_per_worker: one model in memory for all workers, and no number drawn twice."""

import asyncio
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from uvicorn.main import main as uvicorn_command

from contract import FOUR, broken, play, rotated_fakes
from workerlab import catalog, stage
from workerlab.catalog import ROOT
from workerlab.experiment import Result
from workerlab.servers import SERVERS

SLUG = "memory_per_worker"
TOPIC = catalog.find(SLUG)
MODEL_MB, LIMIT_MB = 96, 400
servers = pytest.mark.parametrize(("server", "workers"), FOUR)
forking = pytest.mark.parametrize("server", [s for s in SERVERS if s.startswith("gunicorn")])
CAUGHT = {
    "cached_model": {"memory"},
    "frozen_model": {"memory"},
    "scaled_model": {"memory"},
    "seeded_lottery": {"duplicates"},
}
"""What each fake breaks, on every server."""


def megabytes(result: Result, kind: str) -> float:
    """The sum over the workers, in MB (1024 × 1024 bytes)."""
    return sum({e.worker: e.value or 0.0 for e in result.trace.step(kind)}.values())


def play_file(path: Path, server: str, drill: str) -> Result:
    """Play a drill of the topic on a file of this test."""
    return asyncio.run(stage.play(TOPIC.drill(drill), str(path), server=server, workers=4))


@servers
def test_bad_keeps_one_model_for_each_worker(server: str, workers: int) -> None:
    """Four workers have read the file into memory of their own."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"memory"}
    assert megabytes(result, "pss") > 4 * MODEL_MB


@servers
def test_good_keeps_one_model_and_rss_does_not_show_it(server: str, workers: int) -> None:
    """PSS counts the shared pages once; RSS counts them for every worker, over the limit."""
    result = play(SLUG, "good", server, workers)
    assert broken(result) == set()
    assert megabytes(result, "rss") > LIMIT_MB
    assert megabytes(result, "rss") - megabytes(result, "pss") > 2 * MODEL_MB


@pytest.mark.parametrize(("fake", "server"), rotated_fakes(SLUG))
def test_fake_is_caught(fake: str, server: str) -> None:
    """A cache, gc.freeze and a private mapping share nothing; a fixed seed repeats itself."""
    assert broken(play(SLUG, fake, server, 4)) == CAUGHT[fake]


# -- --preload --------------------------------------------------------------------------------


@forking
def test_good_holds_with_preload(server: str) -> None:
    """The file stays one mapping, and the OS's random numbers know no fork."""
    assert broken(play(SLUG, "good", server, 4, TOPIC.drill("preload"))) == set()


@forking
def test_preload_shares_the_model_of_bad_and_repeats_its_numbers(server: str) -> None:
    """The workers inherit one model and one state of the generator; RSS sees no sharing."""
    result = play(SLUG, "bad", server, 4, TOPIC.drill("preload"))
    assert broken(result) == {"duplicates"}
    assert megabytes(result, "rss") > LIMIT_MB


def test_preload_does_not_share_what_is_loaded_after_the_fork() -> None:
    """A lazily loaded model comes too late to be inherited."""
    result = play(SLUG, "cached_model", "gunicorn-asgi", 4, TOPIC.drill("preload"))
    assert broken(result) == {"memory"}


LIFESPAN = """
from contextlib import asynccontextmanager


@asynccontextmanager
async def lifespan(app):
    global lottery
    lottery = np.random.default_rng()
    yield


app = FastAPI(lifespan=lifespan)
"""


def test_generator_made_in_lifespan_is_each_workers_own(tmp_path: Path) -> None:
    """lifespan runs after the fork: bad.py with it holds under --preload."""
    text = (TOPIC.folder / "bad.py").read_text(encoding="utf-8")
    app = tmp_path / "in_lifespan.py"
    app.write_text(text.replace("app = FastAPI()\n", LIFESPAN), encoding="utf-8")
    assert broken(play_file(app, "gunicorn-asgi", "preload")) == set()


def test_worker_restarted_under_preload_keeps_the_old_model() -> None:
    """The parent opened the file once: only a new start of the parent brings the new model."""
    drill = dataclasses.replace(TOPIC.drill("replaced"), options=("--preload",))
    assert broken(play(SLUG, "good", "gunicorn-asgi", 4, drill)) == {"mixed"}


def test_uvicorn_has_no_preload() -> None:
    """The way that shares memory by fork is gunicorn's alone."""
    flags = {flag for parameter in uvicorn_command.params for flag in parameter.opts}
    assert "--workers" in flags
    assert "--preload" not in flags


# -- the file is changed ----------------------------------------------------------------------


@servers
def test_overwriting_the_file_kills_every_worker_that_has_it_open(
    server: str, workers: int
) -> None:
    """Beyond the new end of the file there is nothing to read: SIGBUS, worker by worker."""
    assert broken(play(SLUG, "good", server, workers, TOPIC.drill("overwritten"))) == set()


def test_bad_survives_that_the_file_is_overwritten() -> None:
    """What was read into memory does not change; the drill can fail."""
    result = play(SLUG, "bad", "uvicorn", 4, TOPIC.drill("overwritten"))
    assert broken(result) == {"survivors", "lost"}


def test_replaced_file_is_seen_by_restarted_workers_only() -> None:
    """A new name leaves the old file to those who have it open; nobody dies of it."""
    assert broken(play(SLUG, "good", "uvicorn", 4, TOPIC.drill("replaced"))) == set()


def test_file_overwritten_at_equal_size_changes_under_the_reader(tmp_path: Path) -> None:
    """No signal then: the open array shows the new numbers, without being told."""
    path = tmp_path / "model.npy"
    np.save(path, np.full(4096, 1.0))
    opened = np.load(path, mmap_mode="r")
    read = np.load(path)
    np.save(path, np.full(4096, 2.0))
    assert (opened[-1], read[-1]) == (2.0, 1.0)


def test_mapped_model_cannot_be_written(tmp_path: Path) -> None:
    """mmap_mode="r" refuses a change, so nobody copies the pages by mistake."""
    np.save(tmp_path / "model.npy", np.zeros(8))
    opened = np.load(tmp_path / "model.npy", mmap_mode="r")
    with pytest.raises(ValueError, match="read-only"):
        opened[0] = 1


# -- fork -------------------------------------------------------------------------------------


def run(script: str) -> str:
    """Run *script* in a process of its own, which may fork."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


DRAW_IN_CHILDREN = """
import json, os, random, secrets, uuid
import numpy as np

random.seed(1)
np.random.seed(1)
own = random.Random()
generator = np.random.default_rng()
DRAWS = {
    "random.random": random.random,
    "random.Random": own.random,
    "default_rng": generator.random,
    "np.random.random": np.random.random,
    "secrets": lambda: secrets.randbits(53),
    "SystemRandom": secrets.SystemRandom().random,
    "urandom": lambda: os.urandom(8).hex(),
    "uuid4": lambda: str(uuid.uuid4()),
}
seen = []
for _ in range(2):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, json.dumps({name: draw() for name, draw in DRAWS.items()}).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        seen.append(json.load(answer))
    os.waitpid(child, 0)
print(json.dumps([name for name in DRAWS if seen[0][name] == seen[1][name]]))
"""


def test_which_random_numbers_repeat_after_a_fork() -> None:
    """Python seeds the functions of `random` anew in a child, and no generator object."""
    repeated = json.loads(run(DRAW_IN_CHILDREN))
    assert repeated == ["random.Random", "default_rng", "np.random.random"]


READ_IN_A_CHILD = """
import gc, json, os
import numpy as np
import psutil

COUNT = 1_000_000
model = np.random.default_rng(1).random(COUNT)
if KIND == "list":
    model = model.tolist()
gc.freeze()
reader, writer = os.pipe()
if os.fork() == 0:
    before = psutil.Process().memory_full_info().uss
    total = sum(model) if isinstance(model, list) else float(model.sum())
    after = psutil.Process().memory_full_info().uss
    os.write(writer, json.dumps((after - before) / (8 * COUNT)).encode())
    os._exit(0)
os.close(writer)
with os.fdopen(reader) as answer:
    print(answer.read())
os.wait()
"""


@pytest.mark.parametrize(("kind", "copied"), [("list", True), ("array", False)])
def test_reading_python_objects_copies_their_pages(kind: str, copied: bool) -> None:
    """Reading a float in a list writes its reference count; numbers in an array have none."""
    script = READ_IN_A_CHILD.replace("KIND", repr(kind))
    growth = float(run(script))  # in sizes of the bare numbers; a Python float takes three
    assert growth > 2 if copied else growth < 0.5
