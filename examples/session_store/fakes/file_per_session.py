"""セッションを 1 人 1 つのファイルに置き、asyncio.Lock で 1 件ずつ変えます。

誘惑: 全ワーカーが同じファイルを読むので、Redis を増やさずにログインを共有できます。
破綻: asyncio.Lock はプロセスの中だけで働くので、別のワーカーの変更を上書きして消します。
"""

import asyncio
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, Cookie, FastAPI, HTTPException, Response

FOLDER = Path(os.environ.get("DATA_DIR", "."))
STOCK_SECONDS = 0.1  # 在庫を問い合わせる時間のつもり

app = FastAPI()
SessionId = Annotated[str, Cookie()]  # Cookie の session_id

# --8<-- [start:fix]
lock = asyncio.Lock()


def path(session_id: str) -> Path:
    return FOLDER / f"{hashlib.sha256(session_id.encode()).hexdigest()}.json"


def load(session_id: str) -> dict[str, Any]:
    file = path(session_id)
    return json.loads(file.read_text()) if file.exists() else {}


def save(session_id: str, session: dict[str, Any]) -> None:
    draft = FOLDER / f"{os.getpid()}.tmp"
    draft.write_text(json.dumps(session))
    draft.replace(path(session_id))  # 書きかけの中身は、だれにも見せない


@app.post("/login")
async def login(
    response: Response, user: Annotated[str, Body(embed=True)]
) -> dict[str, str | int]:
    session_id = secrets.token_urlsafe(32)
    save(session_id, {"user": user, "items": 0})
    response.set_cookie("session_id", session_id, httponly=True, samesite="lax", secure=True)
    return {"user": user, "worker": os.getpid()}


@app.get("/me")
async def read_me(session_id: SessionId = "") -> dict[str, str | int | None]:
    session = load(session_id)
    user, items = session.get("user"), session.get("items", 0)
    return {"user": user, "items": items, "worker": os.getpid()}


@app.post("/cart")
async def add_item(session_id: SessionId = "") -> dict[str, int]:
    async with lock:
        session = load(session_id)
        if "user" not in session:
            raise HTTPException(401, "ログインしてください")
        await asyncio.sleep(STOCK_SECONDS)
        session["items"] += 1
        save(session_id, session)
    return {"items": session["items"], "worker": os.getpid()}


@app.post("/logout")
async def logout(response: Response, session_id: SessionId = "") -> dict[str, int]:
    path(session_id).unlink(missing_ok=True)
    response.delete_cookie("session_id", httponly=True, samesite="lax", secure=True)
    return {"worker": os.getpid()}


# --8<-- [end:fix]
