"""bad.py も good.py も同じように使う、店のデータベースです。"""

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from psycopg.errors import LockNotAvailable
from sqlalchemy import CheckConstraint, Engine, Identity, create_engine, func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

ITEM, STOCK = 1, 100
POSTAGE_SECONDS = 0.05  # 送料を計算する時間の代わり。データベースは使わない
LOCK_TIMEOUT = os.environ.get("LOCK_TIMEOUT", "10s")


# --8<-- [start:tables]
class Base(DeclarativeBase):
    """この店の表。"""


class Item(Base):
    """商品。在庫は負になれない。"""

    __tablename__ = "items"
    __table_args__ = (CheckConstraint("quantity >= 0"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    quantity: Mapped[int]


class Sale(Base):
    """売上の台帳。1 行が、1 個の販売。"""

    __tablename__ = "sales"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    item_id: Mapped[int]


# --8<-- [end:tables]
def open_shop() -> Engine:
    # --8<-- [start:engine]
    engine = create_engine(
        os.environ["DATABASE_URL"],
        pool_size=5,  # 4 ワーカーで 20 本
        max_overflow=0,
        connect_args={"options": f"-c lock_timeout={LOCK_TIMEOUT}"},
    )
    # --8<-- [end:engine]
    with Session(engine) as session:
        session.execute(text("SELECT pg_advisory_xact_lock(1)"))  # 開店は 1 ワーカーずつ
        Base.metadata.create_all(session.connection())
        if session.get(Item, ITEM) is None:
            session.add(Item(id=ITEM, quantity=STOCK))
        session.commit()
    return engine


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.engine = open_shop()
    yield
    app.state.engine.dispose()


def get_session(request: Request) -> Iterator[Session]:
    with Session(request.app.state.engine, expire_on_commit=False) as session:
        yield session


RequestSession = Annotated[Session, Depends(get_session)]


def calculate_postage() -> None:
    time.sleep(POSTAGE_SECONDS)


# --8<-- [start:busy]
def answer_busy(request: Request, error: OperationalError) -> JSONResponse:
    if isinstance(error.orig, LockNotAvailable):  # lock_timeout まで待っても空かなかった
        return JSONResponse({"detail": "混み合っています"}, 503, {"Retry-After": "5"})
    raise error


# --8<-- [end:busy]
router = APIRouter()


@router.get("/stock")
def read_stock(session: RequestSession) -> dict[str, int]:
    """実験が数えるための窓口です。"""
    quantity = session.scalars(select(Item.quantity).where(Item.id == ITEM)).one()
    sold = session.scalars(select(func.count()).select_from(Sale)).one()
    return {"quantity": quantity, "sold": sold, "worker": os.getpid()}
