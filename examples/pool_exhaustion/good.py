"""集計を読み、帳票を作って返します。

接続の数には全ワーカーの合計で予算があり、時間のかかる処理の前に接続を返します。
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


# --8<-- [start:engine]
WORKERS = int(os.environ["WEB_CONCURRENCY"])  # --workers は、アプリには届かない
CONNECTION_BUDGET = 20  # max_connections = 30 のうち、このアプリが使ってよい数
POOL_SIZE = CONNECTION_BUDGET // WORKERS
if POOL_SIZE < 1:  # SQLAlchemy の pool_size=0 は「上限なし」
    raise RuntimeError("接続の予算より、ワーカーのほうが多くなっています")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.engine = create_engine(
        os.environ["DATABASE_URL"],
        pool_size=POOL_SIZE,
        max_overflow=0,  # 予算を超えて開かない
        pool_timeout=3,  # 空きを待つ秒数。過ぎたら例外
        pool_pre_ping=True,  # 貸す前に、切れた接続を取り替える
    )
    yield
    app.state.engine.dispose()


# --8<-- [end:engine]
def get_session(request: Request) -> Iterator[Session]:
    with Session(request.app.state.engine) as session:
        yield session


RequestSession = Annotated[Session, Depends(get_session)]
app = FastAPI(lifespan=lifespan)


def render(total: int) -> str:
    time.sleep(RENDER_SECONDS)
    return f"合計 {total}"


# --8<-- [start:report]
@app.get("/reports/{number}")
def read_report(number: int, session: RequestSession) -> dict[str, str]:
    total = session.execute(REPORT, {"number": number}).scalar_one_or_none()
    if total is None:
        raise HTTPException(410, "その番号の集計は削除されました")
    session.close()  # 接続をプールに返してから、時間のかかる処理へ
    return {"report": render(total)}


# --8<-- [end:report]
