"""No server outlives the process that started it, also when that one is killed by SIGKILL.

A process that gets SIGKILL runs no handler, so another one has to look after what it started:
`guardian_process`, which holds the other end of a pipe. The kernel closes the pipe however the
owner ends; then the guardian ends what it was told of. It lives as long as there is something
to guard.

Not ``PR_SET_PDEATHSIG``: it acts when the *thread* that forked ends, not the process, is
cleared when the child changes its user (as PostgreSQL does under root), is not inherited by
the workers, and exists on Linux only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

_COMMAND = (sys.executable, "-I", "-S", str(Path(__file__).with_name("guardian_process.py")))
_EXIT_TIMEOUT = 30.0
_lock = threading.RLock()
_guarded: dict[int, int] = {}
_process: subprocess.Popen[bytes] | None = None


def guard(pid: int, end: signal.Signals = signal.SIGKILL) -> None:
    """From now on, *pid* and its process group end when this process is gone.

    Args:
        end: Sent to *pid*; what is left a few seconds later gets SIGKILL.
    """
    with _lock:
        _guarded[pid] = end
        if _process is None or _process.poll() is not None:
            _start()
        else:
            _tell(f"+{pid} {int(end)}")


def release(pid: int) -> None:
    """Forget *pid*, which was stopped; the guardian ends when it guards nothing."""
    with _lock:
        if _guarded.pop(pid, None) is None:
            return
        _tell(f"-{pid}")
        if not _guarded:
            _stop()


def _start() -> None:
    global _process
    _stop()  # the pipe of one that somebody killed
    _process = subprocess.Popen(
        _COMMAND,
        bufsize=0,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a signal to our group is not for it
    )
    for pid, end in _guarded.items():
        _tell(f"+{pid} {int(end)}")


def _stop() -> None:
    global _process
    process, _process = _process, None
    if process is not None and process.stdin is not None:
        process.stdin.close()
        process.wait(_EXIT_TIMEOUT)


def _tell(line: str) -> None:
    if _process is not None and _process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # somebody killed it
            _process.stdin.write(f"{line}\n".encode())


def _leave_to_parent() -> None:
    """In a fork: the pipe is the parent's, and would not close with it."""
    global _lock
    _lock = threading.RLock()
    _guarded.clear()
    if _process is not None and _process.stdin is not None:
        _process.stdin.close()
        _process.returncode = 0  # not this process's child


os.register_at_fork(after_in_child=_leave_to_parent)
