"""プールの追加分（max_overflow）を 50 に増やします。

誘惑: 「QueuePool limit of size 5 overflow 10 reached」と出たら、その数を増やしたくなります。
破綻: 4 ワーカーの合計は 220 本になり、待つ場所がプールからデータベースの拒否へ移ります。
"""

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

RENDER_SECONDS = 0.3  # 帳票を作る時間の代わり。データベースは使わない
REPORT = text("SELECT n FROM generate_series(1, 100) AS n WHERE n = :number")


# --8<-- [start:fix]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.engine = create_engine(
        os.environ["DATABASE_URL"], max_overflow=50, pool_timeout=3
    )
    yield
    app.state.engine.dispose()


# --8<-- [end:fix]
def get_session(request: Request) -> Iterator[Session]:
    with Session(request.app.state.engine) as session:
        yield session


RequestSession = Annotated[Session, Depends(get_session)]
app = FastAPI(lifespan=lifespan)


def render(total: int) -> str:
    time.sleep(RENDER_SECONDS)
    return f"合計 {total}"


@app.get("/reports/{number}")
def read_report(number: int, session: RequestSession) -> dict[str, str]:
    total = session.execute(REPORT, {"number": number}).scalar_one_or_none()
    if total is None:
        raise HTTPException(410, "その番号の集計は削除されました")
    return {"report": render(total)}  # 帳票を作る間も、接続を借りたまま
