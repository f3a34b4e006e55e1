"""A `workerlab.cluster.Cluster` whose workers are interpreters in the reader's browser."""

import asyncio
import json as jsonlib

from lab_outbox import put

from workerlab.errors import StartupError
from workerlab.trace import Exchange, Trace

PATIENCE = 60.0
"""Seconds that the page has for what is no request; generous, for busy machines."""
RESTART_PATIENCE = 300.0
NO_HEADERS = {}


class Unsupported(Exception):
    """The experiment asks for something that this stage has not; it should not offer it."""


class BrowserCluster:
    """Sends requests through the page's accept queue; see ``cluster.js`` for the other side."""

    def __init__(self):
        self.trace = Trace()
        self.loop = asyncio.get_running_loop()
        self._waiting = {}
        self._last = 0

    async def request(
        self, method, path, *, step, json=None, headers=None, value=None, timeout=10.0
    ):
        """See `workerlab.cluster.Cluster.request`: always a new connection."""
        pairs = [[k.lower(), v] for k, v in (headers or {}).items()]
        text = ""
        if json is not None:
            text = jsonlib.dumps(json)  # ASCII: one character per byte
            pairs.append(["content-type", "application/json"])
        start = self.trace.now()
        status, worker, kind, raw, error, *rest = await self._ask(
            timeout, "request", method, path, pairs, text
        )
        body = _decode(kind, raw)
        return self.trace.add(
            Exchange(
                step=step,
                worker=worker,
                start=start,
                end=self.trace.now(),
                status=status,
                value=_number(body, value),
                error=error,
                body=body,
                headers=_headers(kind, rest[0]) if rest else NO_HEADERS,
            )
        )

    async def workers(self):
        """See `workerlab.cluster.Cluster.workers`."""
        return (await self._ask(PATIENCE, "workers"))[3]

    async def kill(self, worker):
        """See `workerlab.cluster.Cluster.kill`."""
        self.trace.note("worker_killed", worker=worker, detail="kill -9")
        await self._ask(PATIENCE, "kill", worker)

    async def stop_service(self, name):
        """See `workerlab.cluster.Cluster.stop_service`; the data is forgotten."""
        await self._ask(PATIENCE, "service", name, False)
        self.trace.note("service_stopped", detail=name)

    async def start_service(self, name):
        """See `workerlab.cluster.Cluster.start_service`."""
        await self._ask(PATIENCE, "service", name, True)
        self.trace.note("service_started", detail=name)

    async def restart(self, environment=None):
        """See `workerlab.cluster.Cluster.restart`."""
        variables = None if environment is None else dict(environment)
        error = (await self._ask(RESTART_PATIENCE, "restart", variables))[4]
        if error:
            raise StartupError(f"ワーカーが起動し直しませんでした（{error}）。")
        self.trace.note("server_restarted")

    async def pause(self, worker):
        """Not here: nothing stops an interpreter from outside and lets it go on."""
        raise Unsupported("pause")

    async def resume(self, worker):
        """Not here, see `pause`."""
        raise Unsupported("resume")

    def kept_connection(self):
        """Not here: the page's accept queue knows requests, not connections."""
        raise Unsupported("kept_connection")

    def websocket(self, path, *, step, timeout=10.0):
        """Not here: the page's own WebSockets are not recorded by the engine."""
        raise Unsupported("websocket")

    async def pause_supervisor(self):
        """Not here, see `pause`."""
        raise Unsupported("pause_supervisor")

    async def resume_supervisor(self):
        """Not here, see `pause`."""
        raise Unsupported("resume_supervisor")

    async def deploy(self, environment):
        """Not here, see `pause`."""
        raise Unsupported("deploy")

    async def measure(self, service, quantity):
        """Not here: the services of the browser keep no figures."""
        raise Unsupported("measure")

    async def pause_service(self, name):
        """Not here, see `pause`."""
        raise Unsupported("pause_service")

    async def resume_service(self, name):
        """Not here, see `pause`."""
        raise Unsupported("resume_service")

    async def read_log(self, service):
        """Not here: the services of the browser keep no log."""
        raise Unsupported("read_log")

    async def _ask(self, timeout, kind, *fields):
        """Send one message to the page and wait for its answer, *timeout* seconds at most."""
        self._last += 1
        number = self._last
        waiting = self._waiting[number] = self.loop.create_future()
        timer = self.loop.call_later(timeout, self._expire, number)
        put([kind, number, *fields])
        try:
            return await waiting
        finally:
            timer.cancel()
            self._waiting.pop(number, None)

    def _expire(self, number):
        put(["abort", number])
        self.deliver(number, None, None, "", "", "TimeoutError")

    def deliver(self, number, *answer):
        """Take an answer (status, worker, content type, body, error); late ones are dropped."""
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)


def _decode(content_type, raw):
    """Return what the engine's own client returns: JSON decoded, else text, None if nothing."""
    if not content_type and not raw:
        return None
    data = raw.encode("latin-1")
    if content_type.partition(";")[0].strip() == "application/json":
        try:
            return jsonlib.loads(data)
        except ValueError:
            pass
    return data.decode("utf-8", "replace")


def _headers(kind, others):
    """Several values of one name are joined by line breaks, see `Exchange.headers`."""
    headers = {"content-type": kind}
    for name, value in others:
        headers[name] = f"{headers[name]}\n{value}" if name in headers else value
    return headers


def _number(body, key):
    if key is None or not isinstance(body, dict):
        return None
    value = body.get(key)
    return value if isinstance(value, int | float) else None
