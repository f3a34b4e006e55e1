"""A static file server for tests and the benchmark: no special headers, gzip on request.

Serves a folder below a sub-path, so that absolute links would break, and counts bytes.
"""

import gzip
import mimetypes
import threading
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMPRESSIBLE = ("text/", "application/json", "application/wasm", "image/svg")
mimetypes.add_type("text/javascript", ".mjs")
mimetypes.add_type("application/wasm", ".wasm")


@cache
def _zipped(path, _mtime):
    return gzip.compress(Path(path).read_bytes(), 6)


class StaticServer(ThreadingHTTPServer):
    """Serves *folder* at *prefix*; `pages` maps paths to HTML that exists only here."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder, *, prefix="/", pages=None, gzipped=True, max_age=600):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.prefix, self.pages = Path(folder).resolve(), prefix, pages or {}
        self.gzipped, self.max_age = gzipped, max_age
        self.sent = []  # (path, status, bytes of the body on the wire)

    @property
    def url(self):
        """Address of the folder, with a slash at its end."""
        return f"http://127.0.0.1:{self.server_address[1]}{self.prefix}"

    def bytes_sent(self):
        """Bytes of all bodies since the last call."""
        total = sum(size for _, _, size in self.sent)
        self.sent.clear()
        return total


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        body, kind = self._find(path)
        if body is None:
            self._send(path, 404, b"not found", "text/plain")
        else:
            self._send(path, 200, body, kind)

    def _find(self, path):
        server = self.server
        if not path.startswith(server.prefix):
            return None, None
        inner = path[len(server.prefix) :]
        if inner in server.pages:
            return server.pages[inner].encode(), "text/html; charset=utf-8"
        file = (server.folder / inner).resolve()
        if not file.is_relative_to(server.folder) or not file.is_file():
            return None, None
        return file, mimetypes.guess_type(file.name)[0] or "application/octet-stream"

    def _send(self, path, status, body, kind):
        encoding = None
        zip_it = self.server.gzipped and kind.startswith(COMPRESSIBLE)
        if zip_it and "gzip" in self.headers.get("accept-encoding", ""):
            encoding = "gzip"
        if isinstance(body, Path):
            body = (
                _zipped(str(body), body.stat().st_mtime_ns) if encoding else body.read_bytes()
            )
        elif encoding:
            body = gzip.compress(body, 6)
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", f"max-age={self.server.max_age}")
        if encoding:
            self.send_header("content-encoding", encoding)
            self.send_header("vary", "accept-encoding")
        self.end_headers()
        self.server.sent.append((path, status, len(body)))
        try:
            self.wfile.write(body)
        except ConnectionError:  # the page was closed
            self.close_connection = True


@contextmanager
def serving(folder, **options):
    """Run a `StaticServer` in a thread; it is gone when the block ends."""
    server = StaticServer(folder, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
