"""How an example's file says that it is to be deployed, read without importing it.

A topic about the server's settings or the proxy in front differs in these, not in its app; so
its files carry them, beside the app, as literals:

- ``UVICORN_OPTIONS``, ``GUNICORN_OPTIONS``: a list of arguments for the command line;
- ``NGINX``: what stands inside ``http {}`` of nginx's configuration.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from workerlab.errors import AppError

OPTIONS = "_OPTIONS"
NGINX = "NGINX"


def server_options(app: str, server: str, *, root: Path) -> tuple[str, ...]:
    """The arguments that *app*'s file gives to *server* (``"gunicorn-asgi"``), if any.

    Args:
        app: As in `workerlab.processes.ProcessCluster`.
        root: The folder from which *app* is imported.
    """
    program = server.partition("-")[0].upper()
    return tuple(_literals(app, root).get(f"{program}{OPTIONS}", ()))


def nginx_configuration(app: str, *, root: Path) -> str:
    """What *app*'s file wants inside nginx's ``http {}``.

    Raises:
        AppError: It says nothing about it.
    """
    text = _literals(app, root).get(NGINX)
    if not isinstance(text, str):
        raise AppError(
            f"{app} に、nginx の設定がありません。同じ実験の bad.py のように、{NGINX} という"
            "文字列に書いてください。"
        )
    return text


def _literals(app: str, root: Path) -> dict[str, Any]:
    """The constants of *app*'s file whose value is a literal."""
    module = app.partition(":")[0]
    path = Path(app) if app.endswith(".py") else root / f"{module.replace('.', '/')}.py"
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        if name == NGINX or name.endswith(OPTIONS):
            found[name] = ast.literal_eval(value)
    return found
