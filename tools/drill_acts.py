"""The ways to break the running prod stack, each under load."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Awaitable, Callable

from tools.drill_load import PATIENCE, Load
from workerlab.compose import Compose, ComposeCluster
from workerlab.errors import ServiceError, TrafficError
from workerlab.trace import Exchange, Trace

WORKERS = 4
SLOW = 8
"""Orders in work when the app is told to stop."""
SLOW_LINES = 10
PLAIN_STEPS = ("order", "visit")
"""Steps of the clients that send once."""

# -- the stage ---------------------------------------------------------------------------------


class Field:
    """The prod stack under load, and the ways to break it."""

    def __init__(self, compose: Compose, cluster: ComposeCluster, load: Load) -> None:
        self.compose = compose
        self.cluster = cluster
        self.load = load
        self.trace = load.trace
        self.since = dt.datetime.now(dt.UTC).isoformat()

    async def inside(self, script: str) -> str:
        """Run a shell script in the app's container, as the app's user."""
        return await self.compose.run("exec", "-T", "app", "sh", "-c", script)

    async def inspect(self, service: str, what: str) -> str:
        """A field of ``docker inspect``."""
        container = await self.compose.run("ps", "--all", "--quiet", service)
        return await docker("inspect", "--format", f"{{{{{what}}}}}", container)

    async def kill_container(self, service: str) -> None:
        """SIGKILL to a service's first process, as from outside."""
        container = await self.compose.run("ps", "--quiet", service)
        await kill_first_process(container, await self.inspect("app", ".Image"))

    async def restarted(self, service: str, before: str) -> None:
        """Return when the restart policy has acted once more than *before*."""

        async def acted() -> bool:
            return await self.inspect(service, ".RestartCount") != before

        await until(acted, f"{service} の再起動")

    async def logged(self, text: str) -> None:
        """Return when the app's server has logged *text* since the drill began."""

        async def found() -> bool:
            arguments = ("logs", "--no-color", "--no-log-prefix", f"--since={self.since}")
            return text in await self.compose.run(*arguments, "app")

        await until(found, f"記録の「{text}」")

    async def complete(self, *, without: int = 0) -> None:
        """Return when four workers are there, and *without* is none of them."""

        async def there() -> bool:
            workers = await self.cluster.workers()
            return len(workers) == WORKERS and without not in workers

        await until(there, f"{WORKERS} 個のワーカー")

    def busiest(self) -> int:
        """The worker that answered most of the last orders."""
        answered = [e.worker for e in self.trace.step("order")[-20:] if e.worker]
        return Counter(answered).most_common(1)[0][0]

    def fault(self) -> None:
        """The command is given now."""
        self.trace.note("fault")


async def docker(*arguments: str) -> str:
    """Run a `docker` command to its end, and return what it printed.

    Raises:
        ServiceError: Its status was not 0.
    """
    process = await asyncio.create_subprocess_exec(
        *("docker", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    if process.returncode:
        raise ServiceError(f"docker {arguments[0]}: {err.decode(errors='replace').strip()}")
    return out.decode().strip()


async def kill_first_process(container: str, image: str) -> None:
    """SIGKILL from outside, as the kernel does it; *image* has a Python.

    ``docker kill`` would count as stopped by hand, and inside its container the first process
    can't be killed.
    """
    process = await docker("inspect", "--format", "{{.State.Pid}}", container)
    await docker(
        *("run", "--rm", "--pid=host", "--network=none", "--user=0"),
        *("--cap-drop=ALL", "--cap-add=KILL", image),
        *("python", "-c", f"import os; os.kill({process}, 9)"),
    )


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Poll *condition* until it is true.

    Raises:
        TrafficError: It was not within `PATIENCE` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not await condition():
        if loop.time() > deadline:
            raise TrafficError(f"{PATIENCE:g} 秒待っても、{what}を確かめられません。")
        await asyncio.sleep(0.1)


# -- counting ---------------------------------------------------------------------------------


def measure(trace: Trace, name: str, value: float) -> None:
    """Keep a number with the trace."""
    trace.note("measured", detail=name, value=value)


def failed(trace: Trace, *steps: str) -> list[Exchange]:
    """Requests of *steps* without a good answer."""
    return [e for e in trace.exchanges if e.step in steps and not e.ok]


def failures(trace: Trace, *steps: str) -> int:
    """How many of *steps* failed."""
    return len(failed(trace, *steps))


# -- what is done ------------------------------------------------------------------------------


async def kill_worker(field: Field) -> None:
    """The kernel's harshest signal to one of four."""
    victim = field.busiest()
    field.fault()
    await field.cluster.kill(victim)
    await field.complete(without=victim)


HOG = """
import os, sys
victim = int(sys.argv[1])
with open(f"/proc/{victim}/oom_score_adj", "w") as file:
    file.write("1000")  # the kernel takes this one first
held = []
while os.path.exists(f"/proc/{victim}") and len(held) < 1024:
    held.append(b"x" * 8_000_000)
"""


async def out_of_memory(field: Field) -> None:
    """Use up the container's memory; the kernel kills a worker that we have chosen."""
    victim = field.busiest()
    field.fault()
    with contextlib.suppress(ServiceError):  # the kernel may take the hog too
        await field.compose.run("exec", "-T", "app", "python", "-c", HOG, str(victim))
    await field.logged(f"Worker (pid:{victim}) was sent SIGKILL! Perhaps out of memory?")
    await field.complete(without=victim)


async def disk_full(field: Field) -> None:
    """Fill the workers' common folder, kill a worker, and make room again."""
    victim = field.busiest()
    ballast = "/run/app/ballast"
    try:
        await field.inside(f"head -c 1G /dev/zero >{ballast} || true")
        await field.load.settle()
        measure(field.trace, "failed_while_full", failures(field.trace, *PLAIN_STEPS))
        field.fault()
        await field.cluster.kill(victim)
        await field.logged("was sent SIGBUS!")
        measure(field.trace, "workers_while_full", len(await field.cluster.workers()))
        await field.load.settle()
    finally:
        await field.inside(f"rm -f {ballast}")
    await field.complete(without=victim)


async def kill_server(field: Field) -> None:
    """gunicorn's first process dies, and the container with it."""
    before = await field.inspect("app", ".RestartCount")
    field.fault()
    with contextlib.suppress(ServiceError):  # the container ends below the command
        await field.inside("kill -9 $(cut -d' ' -f1 /proc/1/task/1/children)")
    await field.restarted("app", before)
    await field.complete()


async def restart_app(field: Field) -> None:
    """The graceful way, as for a deployment."""
    field.fault()
    await field.compose.run("restart", "app")
    await field.complete()


async def stop_app(field: Field) -> None:
    """Stop while orders of five seconds are in work; start again."""
    loop = asyncio.get_running_loop()
    orders = [
        loop.create_task(field.load.slow(f"{loop.time()}-{i}", lines=SLOW_LINES))
        for i in range(SLOW)
    ]
    await field.load.settle()  # by now the workers have them
    field.fault()
    await field.compose.run("stop", "app")
    await asyncio.gather(*orders)
    measure(field.trace, "exit_status", int(await field.inspect("app", ".State.ExitCode")))
    await field.compose.run("start", "app")
    await field.complete()


def restart(service: str) -> Callable[[Field], Awaitable[None]]:
    """Restart a service with compose."""

    async def act(field: Field) -> None:
        field.fault()
        await field.compose.run("restart", service)

    return act


def kill(service: str) -> Callable[[Field], Awaitable[None]]:
    """Kill a service's first process; the restart policy starts it."""

    async def act(field: Field) -> None:
        before = await field.inspect(service, ".RestartCount")
        field.fault()
        await field.kill_container(service)
        await field.restarted(service, before)

    return act


async def kill_cache_by_hand(field: Field) -> None:
    """Kill with compose: the policy does not act, so bring it up by hand."""
    field.fault()
    await field.compose.run("kill", "cache")
    with contextlib.suppress(TrafficError, TimeoutError):
        async with asyncio.timeout(5):
            await field.load.settle()
    measure(
        field.trace,
        "running",
        len((await field.compose.run("ps", "--quiet", "--status=running", "cache")).split()),
    )
    await field.compose.run("up", "--detach", "--no-deps", "--wait", "cache")
