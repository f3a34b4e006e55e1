"""`guardian`: what was started ends with its owner, and only then."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from helpers import wait_until
from workerlab import guardian
from workerlab.guardian_process import end_all

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("ready", flush=True)
time.sleep(600)
"""


def guardians() -> list[psutil.Process]:
    """Those of this process."""
    children = psutil.Process().children()
    return [p for p in children if "guardian_process" in " ".join(p.cmdline())]


def test_guardian_lives_as_long_as_it_guards() -> None:
    """Nothing is left of it after the last release, and nothing happened to the others."""
    with subprocess.Popen(SLEEP) as one, subprocess.Popen(SLEEP) as two:
        try:
            guardian.guard(one.pid)
            guardian.guard(two.pid)
            assert len(guardians()) == 1
            guardian.release(one.pid)
            assert len(guardians()) == 1
            guardian.release(two.pid)
            guardian.release(two.pid)
            assert guardians() == []
            assert (one.poll(), two.poll()) == (None, None)
        finally:
            one.kill()
            two.kill()


def test_guardian_that_was_killed_is_replaced() -> None:
    """The new one knows everything that the old one guarded."""
    with (
        subprocess.Popen(SLEEP, start_new_session=True) as one,
        subprocess.Popen(SLEEP, start_new_session=True) as two,
    ):
        try:
            guardian.guard(one.pid)
            (first,) = guardians()
            first.kill()
            wait_until(lambda: first.status() == psutil.STATUS_ZOMBIE, "its end")
            guardian.guard(two.pid)
            guardian._stop()  # closes the pipe, as the end of this process would
            assert (one.wait(30), two.wait(30)) == (-signal.SIGKILL, -signal.SIGKILL)
        finally:
            one.kill()
            two.kill()
            guardian.release(one.pid)
            guardian.release(two.pid)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_fork_does_not_keep_the_pipe_open() -> None:
    """A child made by fork has the pipe's end no more, and ends nothing when it ends."""
    with subprocess.Popen(SLEEP, start_new_session=True) as guarded:
        try:
            guardian.guard(guarded.pid)
            pid = os.fork()
            if pid == 0:  # pragma: no cover
                time.sleep(600)
                os._exit(0)
            try:
                guardian._stop()
                assert guarded.wait(30) == -signal.SIGKILL
            finally:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        finally:
            guarded.kill()
            guardian.release(guarded.pid)


def test_who_may_tidy_up_gets_the_time() -> None:
    """A signal of its own first, and SIGKILL for the rest."""
    polite = subprocess.Popen([sys.executable, "-S", "-c", POLITE], stdout=subprocess.PIPE)
    with polite, subprocess.Popen(SLEEP) as other:
        assert polite.stdout is not None
        assert polite.stdout.readline() == b"ready\n"
        end_all({polite.pid: signal.SIGTERM, other.pid: signal.SIGKILL})
        assert (polite.wait(30), other.wait(30)) == (7, -signal.SIGKILL)
