"""A module whose app exists only inside a function."""

from fastapi import FastAPI


def make() -> FastAPI:
    app = FastAPI()
    return app
