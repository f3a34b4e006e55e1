"""A small static server for the built site: what a host that reads ``_headers`` does."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from workerlab.errors import WorkerlabError


class NoSiteError(WorkerlabError):
    """The site was not built, or the port is taken."""


def listen(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1; when *port* is busy, the next free one of ten.

    Raises:
        NoSiteError: All ten are busy, or the number is not a port.
    """
    if not 0 <= port <= 65535:
        raise NoSiteError(f"--port {port} は使えません。0〜65535 を指定してください。")
    last = min(port + 9, 65535)
    for candidate in range(port, last + 1):
        try:
            return socket.create_server(("127.0.0.1", candidate))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    raise NoSiteError(
        f"ポート {port}〜{last} は、使われているか、権限がありません。"
        "空いている番号を指定してください（例: make serve PORT=8100）。"
    )


def headers(site: Path) -> list[tuple[str, str]]:
    """What ``_headers`` of the built site says for every path; empty without that file."""
    path = site / "_headers"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    pairs = (line.split(": ", 1) for line in lines if line.startswith(" "))
    return [(name.strip(), value) for name, value in pairs]


def serve(site: Path, *, port: int) -> None:
    """Serve *site* until Ctrl-C; prints the address first.

    Raises:
        NoSiteError: *site* holds no page, or no port is free.
    """
    if not (site / "index.html").is_file():
        raise NoSiteError(f"{site} にサイトがありません。先に make site を実行してください。")
    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    app = Starlette(
        routes=[Mount("/", StaticFiles(directory=site, html=True))],
        middleware=[Middleware(GZipMiddleware, minimum_size=500)],
    )
    with listen(port) as listener:
        number = listener.getsockname()[1]
        print(f"ワーカーラボ: http://127.0.0.1:{number}/ （Ctrl-C で終了）", flush=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", headers=headers(site)))
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # uvicorn raises it again after its own shutdown
            print("終了しました。")
