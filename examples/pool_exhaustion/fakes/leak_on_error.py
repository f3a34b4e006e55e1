"""依存が、正常に終わったときだけセッションを閉じます。

誘惑: yield の後に後片付けを書けば、リクエストが終わるたびに実行されそうです。
破綻: 例外は yield の行から送り込まれるので、後の行は実行されず、接続が返りません。
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


WORKERS = int(os.environ["WEB_CONCURRENCY"])  # --workers は、アプリには届かない
CONNECTION_BUDGET = 20  # max_connections = 30 のうち、このアプリが使ってよい数


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.engine = create_engine(
        os.environ["DATABASE_URL"],
        pool_size=CONNECTION_BUDGET // WORKERS,
        max_overflow=0,  # 予算を超えて開かない
        pool_timeout=3,  # 空きを待つ秒数。過ぎたら例外
        pool_pre_ping=True,  # 貸す前に、切れた接続を取り替える
    )
    yield
    app.state.engine.dispose()


# --8<-- [start:fix]
def get_session(request: Request) -> Iterator[Session]:
    session = Session(request.app.state.engine)
    yield session
    session.close()


# --8<-- [end:fix]

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
    session.close()  # 接続をプールに返してから、時間のかかる処理へ
    return {"report": render(total)}
