"""The event loop of an interpreter in the browser: asyncio's own iteration, in batches.

Pyodide's ``WebLoop`` makes one JavaScript task for every callback (some 50 µs each). Here
the callbacks that are ready run in one go, as in ``asyncio.BaseEventLoop._run_once``, and the
browser gets its turn between two iterations.

With JSPI the batch runs on a stack of its own. Code that blocks on it (``time.sleep``, a
blocking socket) suspends that stack, and nothing else of this loop runs until it goes on:
the loop is blocked, as on a server.
"""

import asyncio
import heapq
import sys
from collections import deque
from time import monotonic

from pyodide.ffi import create_once_callable, create_proxy
from pyodide.webloop import WebLoop
from pyodide_js._api import scheduleCallback

ITERATION_SECONDS = 0.004  # longest stretch without a turn for the browser's own events


class LabLoop(WebLoop):
    """A ``WebLoop`` that keeps its own queue of ready callbacks and its own timer heap."""

    def __init__(self):
        super().__init__()
        self._ready = deque()
        self._timers = []
        self._armed_until = float("inf")
        self._scheduled = False
        self._running = False
        self.after_iteration = lambda: None  # set by whoever batches its output
        self._wake = None

    def attach(self, bridge):
        """Use *bridge* (JavaScript: ``iterator(function)``) from now on.

        It calls back on a stack that can be suspended, one browser task later; Pyodide's own
        ``scheduleCallback`` takes two.
        """
        # Timers of the process that made the snapshot will never fire, nor its tasks run.
        self._ready.clear()
        self._timers.clear()
        self._armed_until = float("inf")
        self._scheduled = self._running = False
        self._wake = bridge.iterator(create_proxy(self._iterate))

    def time(self):
        """Return seconds of the monotonic clock, as asyncio does."""
        return monotonic()

    def call_soon(self, callback, *args, context=None):
        """Queue *callback* for the next iteration."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._schedule()
        return handle

    def call_later(self, delay, callback, *args, context=None):
        """Queue *callback* for *delay* seconds from now."""
        if delay <= 0:
            return self.call_soon(callback, *args, context=context)
        return self.call_at(monotonic() + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        """Queue *callback* for the moment *when* of :meth:`time`."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        if when != float("inf"):
            heapq.heappush(self._timers, timer)
            self._arm()
        return timer

    def create_future(self):
        """Return a plain asyncio future; nothing here needs JavaScript's ``then``."""
        return asyncio.Future(loop=self)

    def create_task(self, coro, *, name=None, context=None, **kwargs):
        """Return a plain asyncio task."""
        if self._task_factory is not None:
            return self._task_factory(self, coro, context=context, **kwargs)
        return asyncio.Task(coro, loop=self, name=name, context=context, **kwargs)

    def default_exception_handler(self, context):
        """Print what asyncio prints: the message, then the traceback."""
        import traceback

        error = context.get("exception")
        print(
            context.get("message") or "Unhandled exception in event loop",
            file=sys.stderr,
        )
        if error is not None:
            traceback.print_exception(error)

    def iterate(self):
        """Run what is ready now; for calls from JavaScript that nothing waits behind."""
        self._iterate()

    def _schedule(self):
        if self._scheduled or self._running:
            return
        self._scheduled = True
        if self._wake is not None:
            self._wake()
        else:
            scheduleCallback(create_once_callable(self._iterate, _may_syncify=True), 0)

    def _arm(self):
        """Make sure that a browser timer fires no later than the earliest of ours."""
        while self._timers and self._timers[0]._cancelled:
            heapq.heappop(self._timers)
        if not self._timers or self._timers[0]._when >= self._armed_until:
            return
        when = self._armed_until = self._timers[0]._when
        delay = min(max(0.0, when - monotonic()) * 1000, 2**31 - 1)
        scheduleCallback(
            create_once_callable(lambda: self._timer_fired(when), _may_syncify=True),
            delay,
        )

    def _timer_fired(self, when):
        if when == self._armed_until:
            self._armed_until = float("inf")
        self._iterate()

    def _iterate(self):
        self._scheduled = False
        if self._running:  # suspended in the middle of an iteration: it goes on by itself
            return
        self._running = True
        self._install_running_loop()
        self._install_asyncgen_hooks()
        try:
            self._run_ready(monotonic() + ITERATION_SECONDS)
        finally:
            self._running = False
            self.after_iteration()
            self._arm()
            if self._ready:
                self._schedule()

    def _run_ready(self, until):
        ready = self._ready
        while True:
            now = monotonic()
            while self._timers and self._timers[0]._when <= now + 0.0005:
                timer = heapq.heappop(self._timers)
                if not timer._cancelled:
                    ready.append(timer)
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
            if not ready or monotonic() > until:
                return


def install():
    """Make a ``LabLoop`` the loop of this interpreter; returns it."""
    loop = LabLoop()
    asyncio.get_event_loop_policy().set_event_loop(loop)
    asyncio._set_running_loop(loop)
    return loop
