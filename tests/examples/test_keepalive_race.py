"""keepalive_race: who closes an idle connection first decides whether a request gets a 502."""

import asyncio
import textwrap
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from gunicorn.config import make_settings
from uvicorn import Config

from contract import FOUR, broken, play, skip_if_missing
from workerlab import catalog, stage
from workerlab.catalog import ROOT
from workerlab.cluster import Cluster, Requester
from workerlab.deployment import nginx_configuration, server_options
from workerlab.experiment import Result
from workerlab.nginx import nginx
from workerlab.servers import SERVERS
from workerlab.trace import Exchange

SLUG = "keepalive_race"
TOPIC = catalog.find(SLUG)
servers = pytest.mark.parametrize(("server", "workers"), FOUR)


def observed(result: Result, name: str) -> float:
    """What one invariant saw."""
    return next(v.observed for v in result.verdicts if v.invariant.name == name)


def logged(result: Result) -> list[str]:
    """The lines of nginx's error.log about orders."""
    lines = [event.detail for event in result.trace.events if event.kind == "logged"]
    return [line for line in lines if '"POST /orders HTTP/1.1"' in line]


@servers
def test_bad_refuses_orders_that_no_worker_has_seen(server: str, workers: int) -> None:
    """The worker closes first: nginx answers 502, logs each, and no order is saved."""
    result = play(SLUG, "bad", server, workers)
    assert broken(result) == {"failed", "lost"}
    refused = [e for e in result.trace.step("order") if not e.ok]
    assert {e.status for e in refused} == {502}
    assert observed(result, "lost") == len(refused), "what was refused was not saved"
    blamed = [line for line in logged(result) if "upstream prematurely closed" in line]
    blamed += [line for line in logged(result) if "Connection reset by peer" in line]
    assert len(blamed) == len(refused) + 1  # and the one whose worker was killed


@servers
def test_good_lets_nginx_close_first(server: str, workers: int) -> None:
    """With 75 s against 60 s the worker never closes an idle connection of nginx."""
    result = play(SLUG, "good", server, workers)
    assert broken(result) == set()
    assert len(logged(result)) == 1, "the order whose worker was killed"
    (killed,) = result.trace.step("killed")
    assert killed.status == 502


@pytest.mark.parametrize(
    ("fake", "server", "breaks"),
    [
        ("client_side_timeout", "uvicorn", {"failed", "lost"}),
        ("longer_timeouts", "gunicorn-asgi", {"failed", "lost"}),
        ("retry_everything", "uvicorn", {"doubled"}),
    ],
)
def test_fake_is_caught(fake: str, server: str, breaks: set[str]) -> None:
    """Another timeout changes nothing; sending again saves an order twice."""
    assert broken(play(SLUG, fake, server, 4)) == breaks


def test_deployment_closes_connections_too() -> None:
    """The same race, with a server that stops; what was refused was not saved."""
    result = play(SLUG, "good", "uvicorn", 4, TOPIC.drill("deploy"))
    assert broken(result) == set()


def test_without_kept_connections_there_is_no_race(tmp_path: Path) -> None:
    """nginx 1.22 opens a connection per request unless told otherwise: nothing to close."""
    skip_if_missing(SLUG)
    text = (TOPIC.folder / "bad.py").read_text(encoding="utf-8")
    app = tmp_path / "not_kept.py"
    kept = ("keepalive ", "keepalive_timeout ", "proxy_http_version ", "proxy_set_header ")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(kept)]
    app.write_text("\n".join(lines), encoding="utf-8")
    result = asyncio.run(
        stage.play(TOPIC.experiment, str(app), server="gunicorn-asgi", workers=4)
    )
    assert broken(result) == set()


# -- what the page says besides ---------------------------------------------------------------


def test_bad_has_the_defaults_of_the_servers() -> None:
    """5 s for uvicorn, 2 s for gunicorn: writing them down changes nothing."""
    app = TOPIC.app("bad")
    default = Config("app").timeout_keep_alive
    assert server_options(app, "uvicorn", root=ROOT) == (f"--timeout-keep-alive={default}",)
    default = make_settings()["keepalive"].default
    for server in ("gunicorn-asgi", "gunicorn-uvicorn"):
        assert server_options(app, server, root=ROOT) == (f"--keep-alive={default}",)


ASKED = """
    import asyncio
    import os
    import time
    from pathlib import Path

    from fastapi import FastAPI

    app = FastAPI()


    @app.api_route("/", methods=["GET", "PUT", "POST"])
    async def answer() -> None:
        await asyncio.sleep(0.2)


    @app.get("/block")
    async def block() -> None:
        Path(os.environ["BLOCKED"]).touch()
        time.sleep(4)
"""


def behind_nginx[T](
    tmp_path: Path,
    server: str,
    option: str,
    look: Callable[[Cluster, list[Requester]], Awaitable[T]],
) -> T:
    """Run *look* with one worker behind nginx, and clients that keep their connections."""
    skip_if_missing(SLUG)
    app = tmp_path / "asked.py"
    app.write_text(textwrap.dedent(ASKED), encoding="utf-8")

    async def run() -> T:
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(
                SERVERS[server](
                    str(app),
                    workers=1,
                    services={"nginx": await stack.enter_async_context(nginx())},
                    options=(option,),
                    environment={"BLOCKED": str(tmp_path / "blocked")},
                    proxy=("nginx", nginx_configuration(TOPIC.app("bad"), root=ROOT)),
                )
            )
            people = [
                await stack.enter_async_context(cluster.kept_connection()) for _ in range(4)
            ]
            return await look(cluster, people)

    return asyncio.run(run())


async def ask(people: list[Requester], method: str, path: str = "/") -> list[Exchange]:
    asked = (person.request(method, path, step=method, timeout=120) for person in people)
    return await asyncio.gather(*asked)


def test_nginx_sends_get_and_put_again_but_not_post(tmp_path: Path) -> None:
    """Only methods that may be repeated are, over a new connection, and nobody notices."""

    async def race(cluster: Cluster, people: list[Requester], method: str) -> set[int | None]:
        while True:
            await ask(people, method)
            await cluster.pause_service("nginx")
            asked = asyncio.create_task(ask(people, method))
            in_time = await cluster.measure("nginx", "kept")
            while await cluster.measure("nginx", "kept"):
                await asyncio.sleep(0.05)
            await cluster.resume_service("nginx")
            answers = await asked
            if in_time:
                return {answer.status for answer in answers}

    async def look(cluster: Cluster, people: list[Requester]) -> list[bool]:
        methods = ("GET", "PUT", "POST")
        return [502 in await race(cluster, people, method) for method in methods]

    found = behind_nginx(tmp_path, "uvicorn", "--timeout-keep-alive=1", look)
    assert found == [False, False, True]


@pytest.mark.parametrize(
    ("server", "option", "rounds", "refuses"),
    [
        ("gunicorn-asgi", "--keep-alive=2", 5, True),
        ("gunicorn-asgi", "--keep-alive=75", 1, False),
        ("uvicorn", "--timeout-keep-alive=2", 1, False),
    ],
)
def test_blocked_loop_of_gunicorn_closes_on_waiting_requests(
    tmp_path: Path, server: str, option: str, rounds: int, refuses: bool
) -> None:
    """Blocked for longer than keep-alive, it closes connections on which requests wait."""
    mark = tmp_path / "blocked"

    async def block_and_ask(people: list[Requester]) -> set[int | None]:
        mark.unlink(missing_ok=True)
        await ask(people, "POST")
        blocked = asyncio.create_task(ask(people[:1], "GET", "/block"))
        async with asyncio.timeout(60):
            while not mark.exists():
                await asyncio.sleep(0.01)
        waiting = await ask(people[1:], "POST")
        assert [e.status for e in await blocked] == [200]
        return {e.status for e in waiting}

    async def look(cluster: Cluster, people: list[Requester]) -> bool:
        for _ in range(rounds):  # on a slow machine the requests may come too late
            statuses = await block_and_ask(people)
            assert statuses <= {200, 502}
            if 502 in statuses:
                lines = await cluster.read_log("nginx")
                assert all("upstream prematurely closed" in line for line in lines)
                return True
        return False

    assert behind_nginx(tmp_path, server, option, look) == refuses
