"""The load of the drills: clients that write, and remember what was acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from workerlab.client import Client
from workerlab.errors import TrafficError
from workerlab.trace import Exchange, Trace

ORDERS = "/topics/shared_db_connection/good"
"""An order is a row of PostgreSQL, whose key is the number that the client chose."""
VISITS = "/topics/in_memory_counter/good"
"""A visit is one more in Valkey, which keeps nothing on disk."""
SLOW = "/topics/graceful_shutdown/good"
"""An order that takes as long as it has lines; a row in a file of the volume."""
TOPICS = " ".join(path.removeprefix("/topics/") for path in (ORDERS, VISITS, SLOW))

PLAIN = 4
"""Connections that send orders, and as many that send visits: each one at a time."""
CONNECTIONS = 2 * PLAIN
PATIENT = 2
"""Connections of clients that send an order again until it is acknowledged."""
PAUSE = 0.05
AFTER_FAILURE = 0.25
LONGEST_PAUSE = 2.0
REQUEST_TIMEOUT = 60.0
PATIENCE = 300.0
"""Seconds after which a patient client gives up, and so does whoever waits for recovery."""


class Load:
    """Writes through kept connections, from entering the block until `stop`."""

    def __init__(self, url: str, trace: Trace) -> None:
        self.url = url
        self.trace = trace
        self.orders: list[int] = []
        """Numbers that were acknowledged."""
        self.refused: list[int] = []
        """Numbers whose request failed, in the eyes of a client that tries once."""
        self.visits: list[int] = []
        """What the acknowledged visits were told."""
        self.given_up = 0
        self._numbers: Iterator[int] = iter(())
        self._answered: dict[str, float] = {}
        self._going = True
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._numbers = itertools.count(1 + max(await self.saved_orders(), default=0))
        for i in range(PLAIN):
            await self._start(f"order {i}", ORDERS, self._order)
            await self._start(f"visit {i}", VISITS, self._visit)
        for i in range(PATIENT):
            await self._start(f"patient {i}", ORDERS, self._insist)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def stop(self) -> None:
        """Let every client bring to its end what it has begun."""
        self._going = False
        await asyncio.gather(*self._tasks)

    async def settle(self) -> None:
        """Return when each client has sent something after now and got its answer.

        Raises:
            TrafficError: One had no success in `PATIENCE` seconds.
        """
        begin = self.trace.now()
        while late := [n for n in self._answered if self._answered[n] < begin]:
            self._look_at_tasks()
            if self.trace.now() > begin + PATIENCE:
                raise TrafficError(f"{PATIENCE:g} 秒待っても、{late[0]} に成功がありません。")
            await asyncio.sleep(PAUSE)

    async def slow(self, key: str, *, lines: int) -> Exchange:
        """One order that takes *lines* halves of a second."""
        async with self.client(SLOW) as client:
            path, what = f"/orders/{key}", {"lines": lines}
            return await client.request(
                "PUT", path, step="slow", json=what, timeout=REQUEST_TIMEOUT
            )

    async def saved_orders(self) -> set[int]:
        """The numbers in PostgreSQL."""
        async with self.client(ORDERS) as client:
            return set((await self._read(client, "/orders"))["numbers"])

    async def lost_orders(self) -> int:
        """Acknowledged orders that are not in PostgreSQL."""
        return len(set(self.orders) - await self.saved_orders())

    async def lost_visits(self) -> int:
        """Acknowledged visits that the counter does not hold.

        Without a loss each was told another number, and none a number above the counter.
        """
        async with self.client(VISITS) as client:
            counter = (await self._read(client, "/visits"))["visits"]
        return len(self.visits) - len({visit for visit in self.visits if visit <= counter})

    def client(self, prefix: str) -> Client:
        """One kept connection."""
        return Client(self.url, self.trace, keep_alive=True, prefix=prefix)

    async def _read(self, client: Client, path: str) -> Any:
        """Ask until there is an answer: a worker may still hold connections that broke."""
        end = self.trace.now() + PATIENCE
        while True:
            exchange = await client.request("GET", path, step="read", timeout=REQUEST_TIMEOUT)
            if exchange.ok:
                return exchange.body
            if self.trace.now() > end:
                told = f"{exchange.status}、{exchange.error}"
                raise TrafficError(f"{path} を読めません（{told}）。")
            await asyncio.sleep(AFTER_FAILURE)

    async def _start(
        self, name: str, prefix: str, send: Callable[[Client], Awaitable[bool]]
    ) -> None:
        client = await self._stack.enter_async_context(self.client(prefix))
        self._answered[name] = 0

        async def go_on() -> None:
            while self._going:
                begin = self.trace.now()
                if await send(client):
                    self._answered[name] = begin
                    await asyncio.sleep(PAUSE)
                else:
                    await asyncio.sleep(AFTER_FAILURE)

        self._tasks.append(asyncio.create_task(go_on(), name=name))

    def _look_at_tasks(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    async def _visit(self, client: Client) -> bool:
        exchange = await client.request(
            "POST", "/visits", step="visit", value="visits", timeout=REQUEST_TIMEOUT
        )
        if exchange.ok:
            self.visits.append(int(exchange.value or 0))
        return exchange.ok

    async def _order(self, client: Client) -> bool:
        number = next(self._numbers)
        exchange = await self._send(client, number, step="order")
        (self.orders if exchange.ok else self.refused).append(number)
        return exchange.ok

    # --8<-- [start:insist]
    async def _insist(self, client: Client) -> bool:
        """注文を送ります。失敗したら、届いたかどうかを尋ね、届いていなければ送り直します。"""
        number = next(self._numbers)  # 番号は、注文する側が決める
        deadline = self.trace.now() + PATIENCE
        pause = AFTER_FAILURE
        done = (await self._send(client, number, step="patient")).ok
        while not done and self.trace.now() < deadline:
            await asyncio.sleep(random.uniform(0, pause))  # 全員が同時に来ないように
            pause = min(2 * pause, LONGEST_PAUSE)
            answer = await client.request(
                "GET", f"/orders/{number}", step="look", timeout=REQUEST_TIMEOUT
            )
            if answer.status == 404:
                answer = await self._send(client, number, step="again")
            done = answer.ok
        if done:
            self.orders.append(number)
        else:
            self.given_up += 1
        return done

    # --8<-- [end:insist]
    async def _send(self, client: Client, number: int, *, step: str) -> Exchange:
        order = {"number": number, "card_is_valid": True}
        return await client.request(
            "POST", "/orders", step=step, json=order, timeout=REQUEST_TIMEOUT
        )
