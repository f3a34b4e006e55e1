"""The page 「OpenAPI ドキュメント」: what its blocks can't show in one process of their own."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.exceptions import FastAPIDeprecationWarning
from fastapi.staticfiles import StaticFiles
from fastapi.testclient import TestClient

import fences
from workerlab.catalog import ROOT
from workerlab.cluster import burst
from workerlab.servers import SERVERS

PAGE = ROOT / "docs" / "solutions" / "openapi.md"
TEXT = PAGE.read_text(encoding="utf-8")
REQUESTS = 40


def block(words: str) -> str:
    """The page's Python block whose title holds *words*."""
    (fence,) = (f for f in fences.find(PAGE) if words in f.attributes.get("title", ""))
    return fence.body + "\n"


def schemas(server: str, source: str, folder: Path) -> set[str]:
    """The different answers to /openapi.json from four workers."""
    app = folder / "page_app.py"
    app.write_text(source, encoding="utf-8")

    async def ask() -> set[str]:
        async with SERVERS[server](str(app), workers=4) as cluster:
            found: set[str] = set()
            workers: set[int | None] = set()
            async with asyncio.timeout(60):
                while len(workers) < 4:
                    answers = await burst(
                        cluster, REQUESTS, "GET", "/openapi.json", step="schema"
                    )
                    workers |= {answer.worker for answer in answers}
                    found |= {json.dumps(answer.body) for answer in answers}
            return found

    return asyncio.run(ask())


@pytest.mark.parametrize(("server", "same"), [("uvicorn", False), ("gunicorn-asgi", True)])
def test_order_of_a_set_differs_where_workers_are_spawned(
    server: str, same: bool, tmp_path: Path
) -> None:
    """Each new Python orders strings in its own way; forked ones have their parent's."""
    assert (len(schemas(server, block("sorts.py"), tmp_path)) == 1) == same


def schema_of(source: str, seed: int) -> str:
    """What a new Python with that hash seed makes of the app."""
    return subprocess.run(
        [sys.executable, "-c", source + "import json; print(json.dumps(app.openapi()))"],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_sorted_values_give_one_schema() -> None:
    """The block as it stands, and mended: three Pythons disagree, then agree."""
    source = block("sorts.py")
    mended = source.replace("list(SORTS)", "sorted(SORTS)")
    assert len({schema_of(source, seed) for seed in (1, 2, 3)}) > 1
    assert len({schema_of(mended, seed) for seed in (1, 2, 3)}) == 1


def test_schema_is_made_at_the_first_request_and_kept() -> None:
    """The same object until a route is added."""
    app = FastAPI()
    assert app.openapi_schema is None
    with TestClient(app) as client:
        client.get("/openapi.json")
    first = app.openapi_schema
    assert first is not None
    assert app.openapi() is first

    @app.get("/late")
    async def late() -> None: ...

    assert list(app.openapi()["paths"]) == ["/late"]


SHOP = """
from fastapi import FastAPI

app = FastAPI()
"""


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn-asgi"])
def test_root_path_tells_the_prefix(server: str, tmp_path: Path) -> None:
    """The page asks for the schema below the prefix, and the schema names it."""
    app = tmp_path / "page_app.py"
    app.write_text(SHOP, encoding="utf-8")

    async def ask() -> tuple[str, dict[str, object]]:
        async with SERVERS[server](
            str(app), workers=2, options=["--root-path=/shop"]
        ) as cluster:
            page = await cluster.request("GET", "/docs", step="docs")
            schema = await cluster.request("GET", "/openapi.json", step="schema")
            return str(page.body), schema.body

    page, schema = asyncio.run(ask())
    assert "url: '/shop/openapi.json'" in page
    assert schema["servers"] == [{"url": "/shop"}]


def test_without_root_path_the_page_asks_for_the_wrong_place() -> None:
    """At the host's root, which is not what the proxy hands on."""
    with TestClient(FastAPI()) as client:
        assert "url: '/openapi.json'" in client.get("/docs").text
        assert "servers" not in client.get("/openapi.json").json()


def test_root_path_of_the_app_is_deprecated() -> None:
    """It works, and FastAPI says to configure the server instead."""
    with pytest.warns(FastAPIDeprecationWarning, match="root_path.*deprecated"):
        app = FastAPI(root_path="/shop")
    with TestClient(app) as client:
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/shop"}]


def hosts(path: str) -> set[str]:
    with TestClient(FastAPI()) as client:
        text = client.get(path).text
    return set(re.findall(r"https://([^/\"']+)", text))


def test_hosts_that_the_pages_load_from() -> None:
    """As named on the page; the version of Swagger UI is a major number only."""
    icon = "fastapi.tiangolo.com"
    assert hosts("/docs") == {"cdn.jsdelivr.net", icon}
    assert hosts("/redoc") == {"cdn.jsdelivr.net", "fonts.googleapis.com", icon}
    with TestClient(FastAPI()) as client:
        assert "/swagger-ui-dist@5/" in client.get("/docs").text


def test_own_files_are_served_beside_the_page(tmp_path: Path) -> None:
    """With the mount that the page names, the script comes from the app itself."""
    names: dict[str, FastAPI] = {}
    exec(compile(block("外のホストを読まない"), "page", "exec"), names)
    static = tmp_path / "static"
    static.mkdir()
    (static / "swagger-ui-bundle.js").write_text("// Swagger UI", encoding="utf-8")
    app = names["app"]
    mount = 'app.mount("/static", StaticFiles(directory="static"))'
    assert f"`{mount}`" in TEXT
    app.mount("/static", StaticFiles(directory=static))
    with TestClient(app) as client:
        (script,) = re.findall(r'src="([^"]+)"', client.get("/docs").text)
        assert client.get(script).text == "// Swagger UI"


def test_ports_are_those_of_the_original() -> None:
    """The table has the ports that the original's environments publish."""
    original = (Path(__file__).with_name("original_readme.txt")).read_text(encoding="utf-8")
    published = re.findall(r"^- ポート: (\d+)$", original, re.MULTILINE)
    assert re.findall(r"localhost:(\d+)/docs", TEXT) == published
