"""What every service is to a run: settings for the app, and a life that is watched."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping

from workerlab.errors import ServiceError

WATCH = 0.2
"""Seconds between two looks; the watch shares the event loop with the traffic."""


class Service(ABC):
    """A running service. Whoever made it also ends it."""

    title: str
    """What messages call it."""
    env: Mapping[str, str]
    """Variables that point the app to the service."""

    @abstractmethod
    def is_up(self) -> bool:
        """Whether it is as the experiment left it: running, or stopped on purpose."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it on purpose; its files stay."""

    @abstractmethod
    def start(self) -> None:
        """Start it again, ready when this returns."""

    def put_in_front(self, port: int, configuration: str) -> int:
        """Learn where the workers listen on 127.0.0.1, and serve in front of them.

        Returns:
            The port that clients talk to: its own when the service is a proxy.
        """
        raise NotImplementedError(f"{self.title} is no proxy")

    def pause(self) -> None:
        """Freeze it (SIGSTOP): it keeps its sockets, and does nothing."""
        raise NotImplementedError(f"{self.title} cannot be paused")

    def resume(self) -> None:
        """Let it go on (SIGCONT), unaware of the time that has passed."""
        raise NotImplementedError(f"{self.title} cannot be paused")

    def log(self) -> list[str]:
        """The lines that it has written about what went wrong."""
        raise NotImplementedError(f"{self.title} keeps no log")

    def measure(self, quantity: str) -> float:
        """A number that only the service knows (``"backends"``).

        Raises:
            KeyError: It knows no such quantity; a bug of the experiment.
        """
        raise KeyError(f"{self.title} does not measure {quantity!r}")

    async def watch(self) -> None:
        """Return never; raise `ServiceError` when the service is gone."""
        while self.is_up():
            await asyncio.sleep(WATCH)
        raise ServiceError(
            f"{self.title} が実行中に終了しました。この実験は {self.title} が動き続けることが"
            "前提です。メモリ不足などで止められていないかを確かめて、もう一度実行して"
            "ください。"
        )


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
