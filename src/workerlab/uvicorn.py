"""uvicorn with its own supervisor: ``uvicorn --workers N``."""

from collections.abc import Sequence

from workerlab.processes import ProcessCluster, python_module


class UvicornCluster(ProcessCluster):
    """A supervisor that *spawns* its workers: each imports the app afresh."""

    name = "uvicorn"

    def command(self, fd: int) -> Sequence[str]:
        """See `ProcessCluster.command`."""
        return python_module(
            "uvicorn",
            "workerlab.probe:app",
            f"--fd={fd}",
            f"--workers={self.worker_count}",
            "--log-level=warning",
            "--no-access-log",
            *self.options,
        )
