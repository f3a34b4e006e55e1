"""A folder that the workers of one run share, as the disk of one machine is shared."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator

from workerlab.service import Service

FOLDER_VARIABLE = "DATA_DIR"


class SharedFolder(Service):
    """An empty folder; it needs no watching and cannot be stopped."""

    title = "共有フォルダー"

    def __init__(self, folder: str) -> None:
        self.env = {FOLDER_VARIABLE: folder}

    def is_up(self) -> bool:
        """Always."""
        return True

    def stop(self) -> None:
        """A folder does not stop."""
        raise NotImplementedError("a folder cannot be stopped")

    start = stop


@contextlib.asynccontextmanager
async def files() -> AsyncIterator[Service]:
    """An empty folder, removed with everything in it when the block ends."""
    with tempfile.TemporaryDirectory(prefix="workerlab-files-") as folder:
        yield SharedFolder(folder)
