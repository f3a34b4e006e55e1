"""Answers that no counter should give; which one is set by the environment."""

import itertools
import os

from fastapi import FastAPI, Response

app = FastAPI()
ANSWER = os.environ["ANSWER"]
numbers = itertools.count(10_000)


def answer() -> Response:
    if ANSWER == "infinite":
        return Response('{"visits": 1e999}', media_type="application/json")
    if ANSWER == "not_utf8":
        return Response(b"\xff\xfe\xfa", media_type="text/plain; charset=utf-8")
    return Response('{"visits": 1}', headers={"x-worker-pid": str(next(numbers))})


@app.post("/visits")
async def add_visit() -> Response:
    return answer()


@app.get("/visits")
async def read_visits() -> Response:
    return answer()
