"""file_append: records of several writes tear, one write does not; locks end at the flush."""

import asyncio
import dataclasses
import fcntl
import io
import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from contract import FOUR, broken, drills, fakes, play
from workerlab import catalog, stage

SLUG = "file_append"
EXPERIMENT = catalog.find(SLUG).experiment
DEADLOCKS = "async_flock"
servers = pytest.mark.parametrize(("server", "workers"), FOUR)


@servers
def test_bad_mixes_lines_and_loses_numbers(server: str, workers: int) -> None:
    """Every request is answered and the lines add up, but what they hold is broken."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"intact", "count"}
    intact = next(v.observed for v in result.verdicts if v.invariant.name == "intact")
    assert intact < 30, "most of the 60 lines cannot be read, as the page says"


@servers
def test_good_keeps_every_line_and_number(server: str, workers: int) -> None:
    """One write for a line, flush and fsync inside the lock for the number."""
    assert broken(play(SLUG, "good", server, workers)) == set()


@servers
@pytest.mark.parametrize("fake", [fake for fake in fakes(SLUG) if fake != DEADLOCKS])
def test_fake_is_caught(fake: str, server: str, workers: int) -> None:
    """The seed's flock, lockf and threading.Lock let lines mix or numbers vanish.

    Both, unless the machine is so busy that the requests hardly overlap.
    """
    caught = broken(play(SLUG, fake, server, workers))
    assert caught
    assert caught <= {"intact", "count"}


@servers
def test_flock_in_async_def_deadlocks(server: str, workers: int) -> None:
    """The clients of the first wave wait until their time limit, on every server."""
    result = play(SLUG, DEADLOCKS, server, workers)
    assert "accepted" in broken(result)
    unanswered = [e for e in result.trace.step("add") if e.status is None]
    assert unanswered
    assert all("Timeout" in (e.error or "") for e in unanswered)


@pytest.mark.parametrize("drill", drills(SLUG))
@pytest.mark.parametrize("server", ["gunicorn-asgi", "gunicorn-uvicorn"])
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """Own folders split the lines, a full disk is refused, as the page says."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


@pytest.mark.parametrize(
    ("drill", "fails"),
    [("own_folder", {"complete", "total"}), ("disk_full", {"accepted", "refused", "torn"})],
)
def test_drill_can_fail(drill: str, fails: set[str]) -> None:
    """Without the fault, what it states does not happen."""
    experiment = dataclasses.replace(catalog.find(SLUG).drill(drill), options=())
    assert fails <= broken(play(SLUG, "good", "gunicorn-asgi", 4, experiment))


def test_seed_holds_without_its_unlock(tmp_path: Path) -> None:
    """close() flushes first and unlocks then: deleting LOCK_UN mends the seed's code."""
    seed = catalog.find(SLUG).folder / "fakes" / "seed_flock.py"
    lines = seed.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if "LOCK_UN" not in line]
    assert len(lines) - len(kept) == 2
    app = tmp_path / "app.py"
    app.write_text("\n".join(kept), encoding="utf-8")
    result = asyncio.run(stage.play(EXPERIMENT, str(app), workers=4))
    assert broken(result) == set()


APPEND = """
import sys
from pathlib import Path
for number in range(500):
    with Path(sys.argv[1]).open("a") as file:
        file.write(f"{sys.argv[2]} {number} " + 80 * "x" + "\\n")
"""


def test_seeds_short_append_loses_nothing(tmp_path: Path) -> None:
    """Four processes append 2000 lines as the seed's "bad" code does: all are intact."""
    path = tmp_path / "file.txt"
    writers = [
        subprocess.Popen([sys.executable, "-c", APPEND, path, str(writer)])
        for writer in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    wanted = {f"{w} {n} " + 80 * "x" for w in range(4) for n in range(500)}
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(wanted) == 2000
    assert set(lines) == wanted


class CountingFile(io.FileIO):
    """A file that counts the calls of write(2)."""

    writes = 0

    def write(self, data: object, /) -> int:
        self.writes += 1
        return super().write(data)  # type: ignore[arg-type]


def test_json_dump_needs_four_writes_for_a_reading(tmp_path: Path) -> None:
    """Python's buffer holds 8 KiB, so 27 kB leave in four pieces, as the page says."""
    raw = CountingFile(tmp_path / "readings.jsonl", "ab")
    reading = {"samples": [1_000_000 + i for i in range(3000)]}  # as in experiment.py
    with io.TextIOWrapper(io.BufferedWriter(raw, io.DEFAULT_BUFFER_SIZE)) as file:
        json.dump(reading, file)
        file.write("\n")
    assert 26_000 < (tmp_path / "readings.jsonl").stat().st_size < 28_000
    assert (io.DEFAULT_BUFFER_SIZE, raw.writes) == (8192, 4)


HOLD = """
import fcntl, signal, sys
file = open(sys.argv[1])
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
signal.pause()
"""


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """kill -9 on the holder of a flock: the kernel unlocks, nobody has to clean up."""
    path = tmp_path / "lock"
    path.touch()
    with (
        subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE) as holder,
        path.open() as file,
    ):
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_line_after_a_torn_one_is_lost_too(tmp_path: Path) -> None:
    """When there is room again, the next line goes on where the torn one ended."""
    path = tmp_path / "readings.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        with path.open("ab", buffering=0) as file:
            assert file.write(b'{"a": 1}\n') == 9
            assert file.write(b'{"b": 2}\n') == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with path.open("ab", buffering=0) as file:
        file.write(b'{"c": 3}\n')
    assert path.read_bytes() == b'{"a": 1}\n{{"c": 3}\n'
