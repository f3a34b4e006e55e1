"""3 つの環境が起動するアプリです。すべての実験の bad.py と good.py を、1 つにまとめます。

uvicorn main:app（examples/ の中で）でも、uvicorn examples.main:app でも起動します。
"""

import asyncio
import contextlib
import importlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis.asyncio as redis
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from psycopg import sql
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))  # examples/ の中で起動しても、examples.… を読み込める
from examples.start_page import start_page  # noqa: E402

SECRETS = ("SECRET_KEY", "PGPASSWORD")
STARTUP_SECONDS = 15  # 1 つの実験の準備を待つ上限
PROBE_SECONDS = 5  # 外のサービスの答えを待つ上限
VARIANTS = ("bad", "good")


# --8<-- [start:secrets]
def read_secrets() -> None:
    """SECRET_KEY_FILE のように _FILE の付いた変数が指すファイルから、秘密を読みます。"""
    for name in SECRETS:
        if path := os.environ.get(f"{name}_FILE"):
            os.environ[name] = Path(path).read_text(encoding="utf-8").strip()
    if os.environ.get("REQUIRE_SECRETS") == "1":
        missing = [name for name in SECRETS if len(os.environ.get(name, "")) < 32]
        if missing:
            raise SystemExit(f"32 文字以上の秘密が要ります: {'、'.join(missing)}")


# --8<-- [end:secrets]
read_secrets()
ENVIRONMENT = os.environ.get("ENVIRONMENT", "手元")
DEBUG = os.environ.get("DEBUG") == "1"
SHOW_DOCS = os.environ.get("SHOW_DOCS", "0") == "1"
DATA_DIR = Path(os.environ.get("DATA_DIR", "."))
RUNTIME = Path(
    os.environ.setdefault(
        # 親が同じワーカーは、同じフォルダーを使う
        "RUNTIME_DIRECTORY",
        f"{tempfile.gettempdir()}/workerlab-main-{os.getppid()}",
    )
)
METRICS = RUNTIME / "metrics"
METRICS.mkdir(parents=True, exist_ok=True)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(METRICS)  # 読み込むより前に設定する
import prometheus_client as prometheus  # noqa: E402
from prometheus_client.multiprocess import (  # noqa: E402
    MultiProcessCollector,
    mark_process_dead,
)

# --8<-- [start:numbers]
REQUESTS = prometheus.Counter("http_requests_total", "答えたリクエストの数", ["status"])
for _status in ("1xx", "2xx", "3xx", "4xx", "5xx"):
    REQUESTS.labels(_status)
SECONDS = prometheus.Histogram("http_request_duration_seconds", "答え終わるまでの秒数")
IN_PROGRESS = prometheus.Gauge(
    "http_requests_in_progress", "処理しているリクエストの数", multiprocess_mode="livesum"
)
WORKERS = prometheus.Gauge("workers", "答えられるワーカーの数", multiprocess_mode="mostrecent")
DEATHS = prometheus.Counter("worker_deaths_total", "片付けずに死んだワーカーの数")
UNCOUNTED = frozenset({"/healthz", "/readyz", "/metrics"})  # 利用者のリクエストではない
# --8<-- [end:numbers]
# 実験の good.py が、あとで読み込む prometheus_client の場所
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(RUNTIME)


# -- ワーカーの名簿 ---------------------------------------------------------------------------


# --8<-- [start:roll]
def join() -> Path:
    """このワーカーを名簿に載せます。名簿は、ワーカーが共有するフォルダーです。"""
    card = RUNTIME / "workers" / str(os.getpid())
    card.parent.mkdir(exist_ok=True)
    card.touch()
    return card


def workers() -> list[int]:
    """答えられるワーカー。死んだワーカーの札は、片付けます。"""
    alive = []
    for card in (RUNTIME / "workers").glob("*"):
        try:
            os.kill(int(card.name), 0)  # 0 番は送らない。いるかどうかだけを調べる
            alive.append(int(card.name))
        except ProcessLookupError:
            bury(card)
    return sorted(alive)


# --8<-- [end:roll]


# --8<-- [start:deaths]
def bury(card: Path) -> None:
    """札を片付け、死んだワーカーを 1 度だけ数えます。

    自分で終わるワーカーは、自分の札を片付けます。残っていた札は、突然死の跡です。
    """
    try:
        card.unlink()
    except FileNotFoundError:
        return  # ほかのワーカーが先に見つけ、数えた
    DEATHS.inc()
    mark_process_dead(int(card.name), str(METRICS))  # 処理していたリクエストは、もうない


# --8<-- [end:deaths]


# -- 実験を載せる -----------------------------------------------------------------------------


class Unavailable:
    """始められなかった実験の代わりに、理由を答えます。ほかの実験は動き続けます。"""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """HTTP なら 503、WebSocket なら「あとでつなぎ直して」と答えます。"""
        if scope["type"] == "http":
            await JSONResponse({"detail": self.reason}, 503)(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013})


class Part:
    """1 つの実験の bad.py か good.py です。"""

    def __init__(self, slug: str, variant: str, number: int) -> None:
        self.slug, self.variant = slug, variant
        self.path = f"/topics/{slug}/{variant}"
        self.settings = settings(slug, variant, number)
        self.title = ""
        self.app: ASGIApp = Unavailable("まだ準備ができていません")

    @property
    def reason(self) -> str:
        """使えない理由。使えるなら空です。"""
        return self.app.reason if isinstance(self.app, Unavailable) else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """載せたアプリに渡します。"""
        await self.app(scope, receive, send)

    def load(self) -> None:
        """読み込みます。失敗しても、理由を覚えて続けます。"""
        try:
            with environment(self.settings):
                module = load_afresh(self.slug, self.variant)
        except (Exception, SystemExit) as error:
            self.app = Unavailable(f"読み込めません: {describe(error)}")
            return
        self.title = (module.__doc__ or "").splitlines()[0]
        self.app = module.app
        if not SHOW_DOCS:
            hide_docs(module.app)

    async def start(self, stack: AsyncExitStack) -> None:
        """lifespan を始めます。載せただけのアプリの lifespan は、だれも呼びません。"""
        if not isinstance(self.app, FastAPI):
            return
        try:
            with environment(self.settings):
                async with asyncio.timeout(STARTUP_SECONDS):
                    await stack.enter_async_context(self.app.router.lifespan_context(self.app))
        except (Exception, SystemExit) as error:
            self.app = Unavailable(f"始められません: {describe(error)}")


# --8<-- [start:settings]
def settings(slug: str, variant: str, number: int) -> dict[str, str | None]:
    """ほかの実験と、保存する場所を分けます。

    フォルダー、Valkey のデータベースの番号、PostgreSQL のスキーマ（表の置き場所）です。
    """
    folder = DATA_DIR / slug / variant
    changed: dict[str, str | None] = {
        "DATA_DIR": str(folder),
        "PROMETHEUS_MULTIPROC_DIR": None,  # 要る実験は、自分で設定する
    }
    if url := os.environ.get("REDIS_URL"):
        changed["REDIS_URL"] = urlunsplit(urlsplit(url)._replace(path=f"/{number}"))
    if url := os.environ.get("DATABASE_URL"):
        mark = "&" if urlsplit(url).query else "?"
        changed["DATABASE_URL"] = f"{url}{mark}options=-csearch_path%3D{schema(slug, variant)}"
    return changed


# --8<-- [end:settings]
def schema(slug: str, variant: str) -> str:
    return f"{slug}_{variant}"


@contextlib.contextmanager
def environment(changed: dict[str, str | None]) -> Iterator[None]:
    """この間だけ、環境変数を変えます。None は、消します。"""
    before = dict(os.environ)
    for name, text in changed.items():
        if text is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = text
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def load_afresh(slug: str, variant: str) -> ModuleType:
    """bad.py と good.py が使うモジュールを、別々に読み込みます。

    プロセスに 1 つの値を持つモジュールを、2 つの版が使い回さないようにするためです。
    """
    for name in list(sys.modules):
        if name.partition(".")[0] == "prometheus_client" or name.startswith(
            f"examples.{slug}."
        ):
            del sys.modules[name]
    Path(os.environ["DATA_DIR"]).mkdir(parents=True, exist_ok=True)
    return importlib.import_module(f"examples.{slug}.{variant}")


def hide_docs(app: FastAPI) -> None:
    """載せたアプリの /docs も閉じます。まとめるアプリで閉じても、こちらは開いたままです。"""
    hidden = {app.openapi_url, app.docs_url, app.redoc_url}
    app.router.routes[:] = [
        r for r in app.router.routes if getattr(r, "path", "") not in hidden
    ]


def describe(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def chosen() -> list[Part]:
    """載せる実験。TOPICS に「名前/bad」のように書くと、それだけになります。"""
    every = [
        f"{path.parent.name}/{variant}"
        for path in sorted(HERE.glob("*/experiment.py"))
        for variant in VARIANTS
    ]
    wanted = os.environ.get("TOPICS", "").split()
    unknown = set(wanted) - set(every)
    if unknown:
        raise SystemExit(f"TOPICS にない名前です: {'、'.join(sorted(unknown))}")
    return [
        Part(*name.split("/"), number)
        for number, name in enumerate(every, start=1)
        if not wanted or name in wanted
    ]


def make_schemas() -> None:
    """PostgreSQL に、実験ごとの置き場所を作ります。

    つながらないときは何もしません。PostgreSQL を使う実験が、始められない理由を答えます。
    """
    if url := os.environ.get("DATABASE_URL"):
        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(url, connect_timeout=PROBE_SECONDS) as connection,
        ):
            connection.execute("SELECT pg_advisory_xact_lock(1)")  # 1 ワーカーずつ
            for part in PARTS:
                name = sql.Identifier(schema(part.slug, part.variant))
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))


PARTS = chosen()
make_schemas()
for _part in PARTS:
    _part.load()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for part in PARTS:
            await part.start(stack)
        card = join()
        yield
        card.unlink(missing_ok=True)  # もう新しいリクエストを受けない


# -- アプリ -----------------------------------------------------------------------------------

app = FastAPI(
    title="ワーカーラボ",
    lifespan=lifespan,
    debug=DEBUG,
    openapi_url="/openapi.json" if SHOW_DOCS else None,
)
for _part in PARTS:
    app.mount(_part.path, _part)


def is_last(message: Message) -> bool:
    return message["type"] == "http.response.body" and not message.get("more_body")


class Observer:
    """答えたワーカーの番号をヘッダーに書き、リクエストの数と長さを測ります。"""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """リクエストを渡し、答えの最初に印を付けます。"""
        counted = scope["type"] == "http" and scope["path"] not in UNCOUNTED
        began, answered = time.perf_counter(), False

        async def observe(message: Message) -> None:
            nonlocal answered
            if message["type"] in ("http.response.start", "websocket.accept"):
                MutableHeaders(scope=message)["X-Worker-Pid"] = str(os.getpid())
            if counted and message["type"] == "http.response.start":
                answered = True
                REQUESTS.labels(f"{message['status'] // 100}xx").inc()
            if counted and is_last(message):
                SECONDS.observe(time.perf_counter() - began)
            await send(message)

        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        try:
            with IN_PROGRESS.track_inprogress():
                await self.app(scope, receive, observe)
        except Exception:
            if counted and not answered:  # この外側で、FastAPI が 500 を答える
                REQUESTS.labels("5xx").inc()
            raise


app.add_middleware(Observer)


@app.get("/whoami")
async def whoami() -> dict[str, int | str | list[int]]:
    """答えたワーカーと、いま答えられるワーカーの一覧です。"""
    return {"environment": ENVIRONMENT, "worker": os.getpid(), "workers": workers()}


# --8<-- [start:health]
@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """生きているか。外のサービスは調べません。"""
    return {"status": "ok"}


@app.get("/readyz")
async def readyz(response: Response) -> dict[str, str]:
    """仕事を受けられるか。設定されたサービスに、1 つずつ尋ねます。"""
    names = [name for name in PROBES if os.environ.get(name)]
    answers = await asyncio.gather(*(probe(name) for name in names))
    if any(answer != "ok" for answer in answers):
        response.status_code = 503
    return dict(zip(names, answers, strict=True))


# --8<-- [end:health]
async def probe(name: str) -> str:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await PROBES[name](os.environ[name])
    except (OSError, TimeoutError, redis.RedisError, psycopg.Error) as error:
        return type(error).__name__  # アドレスやパスワードは見せない
    return "ok"


async def probe_redis(url: str) -> None:
    async with redis.from_url(url) as client:
        await client.ping()


async def probe_postgres(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT 1")


async def probe_memcached(url: str) -> None:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(b"version\r\n")
        if not (await reader.readline()).startswith(b"VERSION"):
            raise ConnectionError
    finally:
        writer.close()


PROBES: dict[str, Callable[[str], Awaitable[None]]] = {
    "REDIS_URL": probe_redis,
    "DATABASE_URL": probe_postgres,
    "MEMCACHED_URL": probe_memcached,
}


@app.get("/metrics")
def read_metrics() -> Response:
    """全ワーカーの数を足して見せます。"""
    WORKERS.set(len(workers()))  # 死んだワーカーも、ここで見つかる
    registry = prometheus.CollectorRegistry()
    MultiProcessCollector(registry, path=str(METRICS))
    return Response(
        prometheus.generate_latest(registry), media_type=prometheus.CONTENT_TYPE_LATEST
    )


@app.get("/", response_class=HTMLResponse)
async def read_start_page(request: Request) -> str:
    """最初のページです。"""
    return start_page(
        environment=ENVIRONMENT,
        worker=os.getpid(),
        workers=workers(),
        show_docs=SHOW_DOCS,
        parts=[(p.slug, p.variant, p.path, p.title, p.reason) for p in PARTS],
        root=request.scope.get("root_path", ""),
    )
