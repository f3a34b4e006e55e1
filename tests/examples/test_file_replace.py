"""file_replace: a file that is written in place is broken whenever someone looks or dies."""

import asyncio
import errno
import stat
import tempfile
from pathlib import Path

import pytest

from contract import ANY, FOUR, broken, drills, play
from workerlab import catalog, stage

SLUG = "file_replace"
servers = pytest.mark.parametrize(("server", "workers"), FOUR)


@servers
def test_bad_is_unreadable_while_and_after(server: str, workers: int) -> None:
    """Readers fail while it is written, and for ever after kill -9 in mid-write."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"read_after", "failed_reads"}
    assert not any(exchange.ok for exchange in result.trace.step("after"))


@servers
def test_good_is_always_whole(server: str, workers: int) -> None:
    """With a temporary file and one rename, every read succeeds."""
    assert broken(play(SLUG, "good", server, workers)) == set()


@servers
def test_lock_does_not_outlive_the_writer(server: str, workers: int) -> None:
    """Readers and writers wait for each other, but a dead writer leaves half a file."""
    assert broken(play(SLUG, "truncate_under_lock", server, workers)) == {"read_after"}


@servers
def test_one_temporary_name_is_not_enough(server: str, workers: int) -> None:
    """Of writers that share the name, those who come second find no file to rename."""
    assert "accepted" in broken(play(SLUG, "fixed_temp_name", server, workers))


@pytest.mark.parametrize("drill", drills(SLUG))
@pytest.mark.parametrize("server", sorted({server for server, _ in FOUR}))
def test_drill_ends_as_stated(drill: str, server: str) -> None:
    """The temporary file of a killed writer stays."""
    experiment = catalog.find(SLUG).drill(drill)
    assert broken(play(SLUG, "good", server, 4, experiment)) == set()


def test_bad_breaks_the_drill() -> None:
    """The drill can fail: bad.py leaves no temporary file, and nothing to read."""
    experiment = catalog.find(SLUG).drill("leftover")
    assert broken(play(SLUG, "bad", ANY, 4, experiment)) == {"read_after", "leftovers"}


def test_fsync_is_not_what_protects_from_kill(tmp_path: Path) -> None:
    """Without fsync the result is the same: it is for a power cut, as the page says."""
    lines = (catalog.find(SLUG).folder / "good.py").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if "os.fsync" not in line]
    assert len(lines) - len(kept) == 1
    app = tmp_path / "app.py"
    app.write_text("\n".join(kept), encoding="utf-8")
    result = asyncio.run(stage.play(catalog.find(SLUG).experiment, str(app), workers=4))
    assert broken(result) == set()


def test_temporary_file_belongs_to_its_owner_only(tmp_path: Path) -> None:
    """Mode 600, which the rename would give to the catalogue; so good.py changes it."""
    with tempfile.NamedTemporaryFile(dir=tmp_path) as file:
        assert stat.S_IMODE(Path(file.name).stat().st_mode) == 0o600
    source = (catalog.find(SLUG).folder / "good.py").read_text(encoding="utf-8")
    assert "os.fchmod(file.fileno(), 0o644)" in source


def test_temporary_file_goes_when_writing_fails(tmp_path: Path) -> None:
    """After an exception nothing is left; after the rename nothing is missed."""
    options = {"dir": tmp_path, "delete_on_close": False}
    with pytest.raises(ZeroDivisionError), tempfile.NamedTemporaryFile("w", **options):
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []
    with tempfile.NamedTemporaryFile("w", **options) as file:
        Path(file.name).replace(tmp_path / "catalog.json")
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.json"]


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or Path("/dev/shm").stat().st_dev == Path("/").stat().st_dev,
    reason="needs a second file system (/dev/shm)",
)
def test_rename_does_not_cross_file_systems(tmp_path: Path) -> None:
    """os.replace between two disks raises EXDEV, as the page says."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        with pytest.raises(OSError, match="cross-device") as caught:
            Path(file.name).replace(tmp_path / "catalog.json")
        assert caught.value.errno == errno.EXDEV
