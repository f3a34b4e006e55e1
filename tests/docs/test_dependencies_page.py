"""What docs/solutions/dependencies.md says in prose, run against the installed versions."""

import asyncio
import functools
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated

import anyio.to_thread
import httpx2
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.exceptions import DependencyScopeError
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from sqlalchemy import Connection, QueuePool, StaticPool, create_engine, text
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from workerlab.gunicorn import GunicornUvicornCluster


def answers(app: FastAPI, path: str, count: int) -> list[httpx2.Response]:
    """Answers to *count* requests at once."""

    async def send() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
            return await asyncio.gather(*(client.get(path) for _ in range(count)))

    return asyncio.run(send())


def test_streaming_response_uses_the_dependency_until_its_end() -> None:
    """The default scope is still open while the body is sent; "function" is closed then."""
    app = FastAPI()

    def resource() -> Iterator[list[str]]:
        state = ["open"]
        yield state
        state[0] = "closed"

    def body(state: list[str]) -> Iterator[str]:
        yield state[0]

    @app.get("/request")
    def request(state: Annotated[list[str], Depends(resource)]) -> StreamingResponse:
        return StreamingResponse(body(state))

    @app.get("/function")
    def function(
        state: Annotated[list[str], Depends(resource, scope="function")],
    ) -> StreamingResponse:
        return StreamingResponse(body(state))

    client = TestClient(app)
    assert client.get("/request").text == "open"
    assert client.get("/function").text == "closed"


def test_other_scope_is_another_call() -> None:
    """One function, two scopes in a route: two instances; the same scope twice: one."""
    app = FastAPI()
    made: list[object] = []

    def resource() -> Iterator[object]:
        made.append(object())
        yield made[-1]

    Same = Annotated[object, Depends(resource)]
    Other = Annotated[object, Depends(resource, scope="function")]

    @app.get("/")
    def route(first: Same, second: Same, other: Other) -> list[bool]:
        return [first is second, first is other]

    assert TestClient(app).get("/").json() == [True, False]
    assert len(made) == 2


def test_request_scope_cannot_use_function_scope() -> None:
    """Refused when the route is registered, not when it is called."""

    def brief() -> Iterator[int]:
        yield 1

    def lasting(number: Annotated[int, Depends(brief, scope="function")]) -> Iterator[int]:
        yield number

    def route(number: Annotated[int, Depends(lasting)]) -> None: ...

    with pytest.raises(DependencyScopeError, match="cannot depend on"):
        FastAPI().get("/")(route)


def test_the_500_of_the_full_pool_is_a_timeout() -> None:
    """With one connection, who comes while a background task holds it waits in vain."""
    engine = create_engine(
        "sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.1
    )
    app = FastAPI()
    errors: list[type[Exception]] = []

    async def get_db() -> AsyncIterator[Connection | None]:
        try:
            with engine.connect() as db:
                yield db
        except PoolTimeoutError as error:
            errors.append(type(error))
            yield None

    @app.get("/")
    async def route(
        db: Annotated[Connection | None, Depends(get_db)], background: BackgroundTasks
    ) -> None:
        background.add_task(asyncio.sleep, 0.5)

    answers(app, "/", 2)
    engine.dispose()
    assert errors == [PoolTimeoutError]


def test_session_that_nobody_committed_is_rolled_back() -> None:
    """`with Session(engine)` does not commit."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    with Session(engine) as db:
        db.execute(text("CREATE TABLE t (x int)"))
        db.commit()
        db.execute(text("INSERT INTO t VALUES (1)"))
    with Session(engine) as db:
        assert db.execute(text("SELECT count(*) FROM t")).scalar_one() == 0
    engine.dispose()


def test_worker_has_forty_threads() -> None:
    """AnyIO's limiter, which FastAPI's thread pool uses."""

    async def tokens() -> float:
        return anyio.to_thread.current_default_thread_limiter().total_tokens

    assert asyncio.run(tokens()) == 40


@pytest.mark.parametrize(("kind", "most"), [("def", 40), ("async def", 1)])
def test_where_dependencies_run(kind: str, most: int) -> None:
    """`def` in threads, `async def` in the event loop, where a blocking call stops all."""
    app = FastAPI()
    threads: set[int] = set()
    together: list[int] = []
    inside = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside
        with lock:
            inside += 1
            together.append(inside)
            threads.add(threading.get_ident())
        time.sleep(0.05)
        with lock:
            inside -= 1

    async def asynchronous() -> None:
        work()

    @app.get("/", dependencies=[Depends(work if kind == "def" else asynchronous)])
    async def route() -> None: ...

    answers(app, "/", 10)
    assert (max(together) > 1) == (kind == "def")
    assert max(together) <= most
    assert (threading.get_ident() in threads) == (kind == "async def")


def test_sqlite_connection_of_a_dependency_needs_the_check_off() -> None:
    """With the check a thread that did not open it is refused; without, 20 at once work."""
    strict = sqlite3.connect(":memory:")
    raised: list[str] = []

    def use() -> None:
        with pytest.raises(sqlite3.ProgrammingError, match="same thread") as error:
            strict.execute("SELECT 1")
        raised.append(str(error.value))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    strict.close()
    assert len(raised) == 1

    app = FastAPI()

    def get_db() -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(":memory:", check_same_thread=False)
        time.sleep(0.01)
        yield db
        db.close()

    @app.get("/")
    def route(db: Annotated[sqlite3.Connection, Depends(get_db)]) -> int:
        time.sleep(0.01)
        return int(db.execute("SELECT 1").fetchone()[0])

    assert [answer.json() for answer in answers(app, "/", 20)] == [1] * 20


def test_lru_cache_may_make_two() -> None:
    """It does not hold other callers back while the first value is being made."""
    made: list[int] = []
    both = threading.Barrier(2, timeout=10)

    @functools.lru_cache
    def client() -> int:
        both.wait()  # passes only when two are inside at once
        made.append(threading.get_ident())
        return len(made)

    threads = [threading.Thread(target=client) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2


APP = """
import os
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request

MODULE = os.getpid()

@asynccontextmanager
async def lifespan(app):
    app.state.made_in = os.getpid()
    yield

app = FastAPI(lifespan=lifespan)

@app.get("/")
def read(request: Request):
    return {
        "module": MODULE, "lifespan": request.app.state.made_in, "worker": os.getpid()
    }
"""


def test_preload_makes_module_variables_in_the_parent(tmp_path: Path) -> None:
    """Under gunicorn --preload a module's variable is the arbiter's, lifespan's is not."""
    app = tmp_path / "made_where.py"
    app.write_text(APP, encoding="utf-8")

    async def look() -> None:
        async with GunicornUvicornCluster(
            str(app), workers=2, options=["--preload"]
        ) as cluster:
            for _ in range(10):
                seen = (await cluster.request("GET", "/", step="read")).body
                assert seen["module"] == cluster.supervisor != os.getpid()
                assert seen["lifespan"] == seen["worker"] != cluster.supervisor

    asyncio.run(look())
