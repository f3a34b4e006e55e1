"""The process behind `guardian`: waits for the end of its owner, then ends what is left.

It reads ``+<pid> <signal>`` and ``-<pid>``, a line each. Standard library only and few imports:
it is started by its path, and in some 15 ms.
"""

import contextlib
import os
import signal
import sys
import time

GRACE = 5.0
"""Seconds from the first signal to SIGKILL; PostgreSQL tidies up its shared memory."""
POLL = 0.02


def main() -> None:
    """Read until the owner is gone."""
    guarded: dict[int, int] = {}
    for line in sys.stdin:
        pid, _, end = line[1:].partition(" ")
        if line.startswith("+"):
            guarded[int(pid)] = int(end)
        else:
            guarded.pop(int(pid), None)
    end_all(guarded)


def end_all(guarded: dict[int, int]) -> None:
    """Send each its signal, wait for those who may tidy up, and kill what is left."""
    polite = [pid for pid, end in guarded.items() if end != signal.SIGKILL]
    for pid, end in guarded.items():
        if pid in polite:
            with contextlib.suppress(OSError):
                os.kill(pid, end)
        else:
            kill(pid)
    deadline = time.monotonic() + GRACE
    while any(map(is_there, polite)) and time.monotonic() < deadline:
        time.sleep(POLL)
    for pid in polite:
        kill(pid)


def kill(pid: int) -> None:
    """SIGKILL for the group that *pid* leads, or for *pid* alone when it leads none."""
    with contextlib.suppress(OSError):
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(pid, signal.SIGKILL)


def is_there(pid: int) -> bool:
    """Whether *pid* is not gone yet; somebody else reaps it."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
