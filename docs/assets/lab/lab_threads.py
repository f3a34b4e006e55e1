"""Blocking calls without threads: ``def`` endpoints, ``time.sleep``, executors.

The browser gives an interpreter no threads. With JSPI every call that a server would put on
a thread runs on a stack of its own; a blocking call suspends that stack alone, so ``def``
endpoints overlap as on a server. Without JSPI they run one after another.
"""

import asyncio
import contextvars
import time

import anyio._backends._asyncio as anyio_asyncio
from anyio import CancelScope
from lab_loop import LabLoop
from pyodide.ffi import can_run_sync, create_once_callable, run_sync
from pyodide_js._api import scheduleCallback

_on_thread = contextvars.ContextVar("lab_on_thread", default=False)
_spin = getattr(time.sleep, "__wrapped__", time.sleep)
_bridge = None


def attach(bridge):
    """Use *bridge* (JavaScript: ``sleep``, ``loopBlocked``) from now on."""
    global _bridge
    _bridge = bridge


class _Wait(asyncio.Future):
    """What ``run_sync`` waits for: its callback is the browser's to run, not the loop's.

    ``run_sync`` makes a future of whatever it is given and waits for a callback of it. On a
    common future that callback would be queued on the loop, and the loop stands still. It
    must not run at once either: Pyodide is in the middle of registering it.
    """

    _callback = None

    def add_done_callback(self, fn, *, context=None):
        self._callback = fn
        self._tell()

    def set_result(self, result):
        super().set_result(result)
        self._tell()

    def set_exception(self, exception):
        super().set_exception(exception)
        self._tell()

    def _tell(self):
        callback = self._callback
        if callback is not None and self.done():
            self._callback = None
            scheduleCallback(create_once_callable(lambda: callback(self)), 0)


def block_on(box):
    """Wait for the JavaScript promise in *box* as a blocking system call would; needs JSPI.

    On a "thread" only that thread waits. Elsewhere the event loop waits with it, and the
    worker takes no connection meanwhile. (In a box, because a promise that JavaScript
    returns becomes a common future.)
    """
    wait = _Wait(loop=asyncio.get_event_loop_policy().get_event_loop())
    box.promise.then(wait.set_result, wait.set_exception)
    if _on_thread.get():
        return run_sync(wait)
    _bridge.loopBlocked(True)
    try:
        return run_sync(wait)
    finally:
        _bridge.loopBlocked(False)


def can_block():
    """Tell whether the current stack can be suspended (JSPI, and not inside a callback)."""
    return _bridge is not None and can_run_sync()


def sleep(seconds):
    """Block as ``time.sleep`` does: this thread, or the whole worker when on its loop."""
    if seconds > 0 and can_block():
        block_on(_bridge.sleep(seconds * 1000))
    else:
        _spin(seconds)


def run_on_thread(loop, context, function, args):
    """Run *function* on a stack of its own; returns the future of its result."""
    future = loop.create_future()
    context.run(_on_thread.set, True)

    def run():
        if future.cancelled():
            return
        try:
            result = context.run(function, *args)
        except BaseException as error:
            if isinstance(error, StopIteration):
                error = RuntimeError("coroutine raised StopIteration")
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(result)

    scheduleCallback(create_once_callable(run, _may_syncify=True), 0)
    return future


async def _run_sync_in_worker_thread(cls, func, args, abandon_on_cancel=False, limiter=None):
    """Stand in for anyio's method of this name: same limiter (40 at a time), no thread."""
    await cls.checkpoint()
    async with limiter or cls.current_default_thread_limiter():
        with CancelScope(shield=not abandon_on_cancel):
            context = contextvars.copy_context()
            return await run_on_thread(asyncio.get_running_loop(), context, func, args)


def _run_in_executor(self, executor, func, *args):
    return run_on_thread(self, contextvars.copy_context(), func, args)


def install():
    """Route anyio, asyncio and ``time.sleep`` through this module."""
    time.sleep = sleep
    anyio_asyncio.AsyncIOBackend.run_sync_in_worker_thread = classmethod(
        _run_sync_in_worker_thread
    )
    LabLoop.run_in_executor = _run_in_executor
