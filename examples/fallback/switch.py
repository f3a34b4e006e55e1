"""為替のサービスの調子を変えるスイッチと、届いたリクエストの数です。どちらもファイルに置きます。

実験は window のルートから、調子を変え、数を読みます。
"""

import os
from pathlib import Path
from typing import Literal

from fastapi import APIRouter

FOLDER = Path(os.environ.get("DATA_DIR", "."))
SOCKET = FOLDER / "rates.sock"
MODE, CALLS = FOLDER / "mode.txt", FOLDER / "calls.txt"
Mode = Literal["fine", "error", "hang"]


def note_call() -> str:
    """リクエストを 1 件と数え、いまの調子を返します。"""
    with CALLS.open("a") as calls:
        calls.write(".")
    return MODE.read_text() if MODE.exists() else "fine"


window = APIRouter()


@window.put("/rates/{mode}")
def set_mode(mode: Mode) -> dict[str, int]:
    MODE.write_text(mode)
    CALLS.write_text("")
    return {"worker": os.getpid()}


@window.get("/rates")
def count() -> dict[str, int]:
    return {"calls": len(CALLS.read_text()), "worker": os.getpid()}
