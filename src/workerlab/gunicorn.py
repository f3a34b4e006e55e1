"""gunicorn with its own ASGI worker, and with uvicorn's worker class."""

from collections.abc import Sequence
from typing import ClassVar

from workerlab.processes import ProcessCluster, python_module


class _GunicornCluster(ProcessCluster):
    """An arbiter that *forks* its workers."""

    worker_class: ClassVar[str]

    def command(self, fd: int) -> Sequence[str]:
        """See `ProcessCluster.command`."""
        return python_module(
            "gunicorn",
            "workerlab.probe:app",
            f"--bind=fd://{fd}",
            f"--workers={self.worker_count}",
            f"--worker-class={self.worker_class}",
            "--no-control-socket",  # two runs at once would fight for one path
            "--log-level=warning",
            *self.options,
        )


class GunicornAsgiCluster(_GunicornCluster):
    """gunicorn's own ASGI worker (``-k asgi``, since gunicorn 24)."""

    name = "gunicorn-asgi"
    worker_class = "asgi"


class GunicornUvicornCluster(_GunicornCluster):
    """``-k uvicorn_worker.UvicornWorker``, from the package ``uvicorn-worker``."""

    name = "gunicorn-uvicorn"
    worker_class = "uvicorn_worker.UvicornWorker"
