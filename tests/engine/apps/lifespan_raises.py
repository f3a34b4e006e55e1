"""An app whose lifespan raises: uvicorn's supervisor ends with status 0 (uvicorn 0.54)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    raise ConnectionError("データベースに接続できません")
    yield


app = FastAPI(lifespan=lifespan)
