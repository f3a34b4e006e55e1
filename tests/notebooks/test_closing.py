"""Whatever happens in a notebook, no process outlives its last cell or its kernel."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from helpers import MARK, Command, wait_until, workerlab
from workerlab.catalog import ROOT

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
OPEN = """
from workerlab.notebook import Lab
lab = Lab(workers=2)
server = await lab.open("in_memory_counter", "good")
"""
PATIENCE = 300


@contextlib.contextmanager
def kernel() -> Iterator[tuple[KernelManager, BlockingKernelClient, Command]]:
    """A fresh kernel, as `make notebook` starts one; what it starts can be found."""
    command = workerlab()
    manager = KernelManager()
    manager.start_kernel(cwd=str(ROOT / "notebooks"), env={**os.environ, MARK: command.mark})
    assert manager.provisioner.pid
    command.pid = manager.provisioner.pid  # it leads a session of its own
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        yield manager, client, command
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        for process in command.processes():
            with contextlib.suppress(Exception):
                process.kill()


def run(client: BlockingKernelClient, code: str) -> dict[str, Any]:
    """Execute a cell; what its reply says."""
    reply = client.execute_interactive(code, timeout=PATIENCE, output_hook=lambda _: None)
    content: dict[str, Any] = reply["content"]
    return content


def servers(command: Command) -> list[str]:
    """The command lines that the kernel started, without the kernel itself."""
    lines = []
    for process in command.processes():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile, or is a zombie
            lines.append(" ".join(process.cmdline()))
    return [line for line in lines if "ipykernel_launcher" not in line]


def test_last_cell_stops_everything_after_an_interrupt() -> None:
    """A cell is interrupted while its traffic runs; the last cell still works."""
    with kernel() as (manager, client, command):
        assert run(client, OPEN)["status"] == "ok"
        before = len(servers(command))
        assert before >= 3  # supervisor, two workers, and what they need
        message = client.execute('await lab.run("who_answers", "bad", workers=2)')
        wait_until(lambda: len(servers(command)) >= before + 3, "more workers", PATIENCE)
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=PATIENCE)
        assert reply["parent_header"]["msg_id"] == message
        assert reply["content"]["status"] == "error"
        assert run(client, "await lab.close()")["status"] == "ok"
        wait_until(lambda: servers(command) == [], "everything to be gone", PATIENCE)


def test_last_cell_stops_everything_after_a_failure() -> None:
    """A cell in the middle raised; running the last cell leaves nothing behind."""
    with kernel() as (_, client, command):
        assert run(client, OPEN)["status"] == "ok"
        assert run(client, "assert False")["ename"] == "AssertionError"
        assert run(client, "await lab.close()")["status"] == "ok"
        wait_until(lambda: servers(command) == [], "everything to be gone", PATIENCE)


def test_kernel_that_is_shut_down_stops_everything() -> None:
    """Somebody closes or restarts the kernel instead of running the last cell."""
    with kernel() as (manager, client, command):
        assert run(client, OPEN)["status"] == "ok"
        assert servers(command)
        manager.shutdown_wait_time = PATIENCE
        manager.shutdown_kernel()
        wait_until(lambda: servers(command) == [], "everything to be gone", PATIENCE)


def test_kernel_that_is_killed_leaves_nothing() -> None:
    """SIGKILL: a cell that hangs, the memory is full, somebody restarts at once."""
    with kernel() as (_, client, command):
        assert run(client, OPEN)["status"] == "ok"
        message = client.execute('await lab.run("who_answers", "bad", workers=2)')
        assert message
        before = len(servers(command))
        wait_until(lambda: len(servers(command)) >= before + 3, "more workers", PATIENCE)
        os.kill(command.pid, signal.SIGKILL)
        wait_until(lambda: servers(command) == [], "everything to be gone", PATIENCE)
