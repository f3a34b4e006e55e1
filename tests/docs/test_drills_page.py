"""What docs/stacks/drills.md shows; tests/stacks plays the drills themselves."""

import asyncio
import datetime as dt
import json
import re
import socket

import pytest
import uvicorn
from fastapi import FastAPI, HTTPException

from tools import drills
from tools.drill_acts import SLOW, SLOW_LINES
from tools.drill_load import CONNECTIONS, PATIENT, PLAIN
from workerlab.catalog import ROOT

PAGE = ROOT / "docs" / "stacks" / "drills.md"
RECORDED = json.loads((drills.FOLDER / "drills.json").read_text(encoding="utf-8"))


def test_tables_follow_from_the_recording() -> None:
    """Nothing was typed in, and promises have not changed since."""
    for path, text in drills.derived(RECORDED).items():
        assert path.read_text(encoding="utf-8") == text, "python -m tools.drills"
        assert f'--8<-- "drills/{path.name}"' in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "run"), list(zip(drills.DRILLS, RECORDED["runs"], strict=True))
)
def test_recorded_drill_kept_its_promises(name: str, run: dict[str, object]) -> None:
    """Each drill was recorded, with the promises that it makes today, and holds."""
    assert run["drill"] == name
    promises = [(p["name"], p["holds"]) for p in run["promises"]]  # type: ignore[attr-defined]
    assert promises == [(p.name, True) for p in drills.DRILLS[name].every]


def test_recording_was_made_with_the_pinned_versions() -> None:
    """The app's are those of its requirements."""
    pins = (ROOT / "examples" / "requirements.txt").read_text(encoding="utf-8")
    for name in ("FastAPI", "uvicorn", "gunicorn"):
        assert f"{name.lower()}=={RECORDED['versions'][name]}" in pins
    assert dt.date.fromisoformat(RECORDED["recorded_on"]) <= dt.datetime.now(dt.UTC).date()


def test_page_counts_as_the_drills_do() -> None:
    """Drills, connections, and orders in work."""
    text = PAGE.read_text(encoding="utf-8")
    assert f"{len(drills.DRILLS)} 通りの壊し方" in text
    assert f"{CONNECTIONS + PATIENT} 本の接続が" in text
    rows = re.findall(r"^\| (\d) 本 \|", text, re.MULTILINE)
    assert [int(row) for row in rows] == [PLAIN, PLAIN, PATIENT]
    assert f"5 秒かかる注文を {SLOW} 件" in text
    assert SLOW_LINES * 0.5 == 5


def test_connection_ends_after_an_unhandled_exception() -> None:
    """uvicorn closes it behind the 500; behind a 503 that the app chose, it does not."""
    app = FastAPI()

    @app.get("/{status}")
    async def fail(status: int) -> None:
        if status == 503:
            raise HTTPException(503)
        raise OSError

    async def ask() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = uvicorn.Server(uvicorn.Config(app, log_level=60, lifespan="off"))
            serving = asyncio.create_task(server.serve([listener]))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            for path in (b"503", b"503", b"500"):
                writer.write(b"GET /" + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            answers = await asyncio.wait_for(reader.read(), 60)  # until the other side closes
            writer.close()
            server.should_exit = True
            await serving
            return answers

    answers = asyncio.run(ask())
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"503", b"503", b"500"]
