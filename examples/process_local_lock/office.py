"""bad.py も good.py も同じように使う、請求書のデータベースです。"""

import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from sqlalchemy import Identity, create_engine, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

PAGE_SECONDS = 0.02  # 1 ページを組む時間の代わり。この間に、ほかの人も番号を読む


# --8<-- [start:table]
class Base(DeclarativeBase):
    """この会社の表。"""


class Invoice(Base):
    """発行した請求書。"""

    __tablename__ = "invoices"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    number: Mapped[int]


# --8<-- [end:table]
class Order(BaseModel):
    """請求書の注文。"""

    pages: int = 1
    has_address: bool = True


# --8<-- [start:steps]
def next_number(session: Session) -> int:
    return (session.scalar(select(func.max(Invoice.number))) or 0) + 1


def render(order: Order, number: int) -> None:
    time.sleep(order.pages * PAGE_SECONDS)  # 番号を刷り込んだ PDF を作る代わり
    if not order.has_address:
        raise HTTPException(409, "宛先がないので発行できません")


# --8<-- [end:steps]
@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.engine = create_engine(
        os.environ["DATABASE_URL"],
        pool_size=5,  # 4 ワーカーで 20 本
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={"application_name": str(os.getpid())},
    )
    with app.state.engine.begin() as setup:
        setup.execute(text("SELECT pg_advisory_xact_lock(1)"))  # 表を作るのは 1 つずつ
        Base.metadata.create_all(setup)
    yield
    app.state.engine.dispose()


def get_session(request: Request) -> Iterator[Session]:
    with Session(request.app.state.engine) as session:
        yield session


RequestSession = Annotated[Session, Depends(get_session)]
router = APIRouter()


@router.get("/invoices")
def read_invoices(session: RequestSession) -> dict[str, int]:
    """実験が数えるための窓口です。"""
    numbers = session.scalars(select(Invoice.number)).all()
    return {
        "issued": len(numbers),
        "distinct": len(set(numbers)),
        "last": max(numbers, default=0),
        "worker": os.getpid(),
    }


RENDERING = text(
    "SELECT application_name FROM pg_stat_activity WHERE state = 'idle in transaction'"
)


@router.get("/rendering")
def read_rendering(session: RequestSession) -> dict[str, int]:
    """トランザクションを開いたまま PDF を作っているワーカー。いなければ 0 です。"""
    return {"rendering": int(session.scalar(RENDERING) or 0)}
