"""Configuration of gunicorn for plays of the tests: the arbiter imports the libraries.

Its workers are forked and find them imported, which saves about a second of processor time a
play. The application itself is still imported by each worker. An application that measures
its own memory must not run with it.
"""

import importlib
import os
from pathlib import Path

import fastapi  # noqa: F401
import uvicorn_worker  # noqa: F401

LIBRARIES = ("redis.asyncio", "sqlalchemy.ext.asyncio", "psycopg", "taskiq")

_app = Path(os.environ["WORKERLAB_APP"])
_source = "".join(path.read_text(encoding="utf-8") for path in _app.parent.glob("*.py"))
for _name in LIBRARIES:
    if f"import {_name.split('.')[0]}" in _source or f"from {_name.split('.')[0]}" in _source:
        importlib.import_module(_name)
