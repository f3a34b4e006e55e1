"""The reader's files in ``/app``: written, compiled, and found again in tracebacks."""

import importlib
import json
import linecache
import os
import sys
import traceback
from pathlib import Path

APP_DIR = "/app"


def write(files):
    """Write *files* (JSON: path → source) below ``/app`` and import from there."""
    for path, source in json.loads(files).items():
        target = Path(APP_DIR, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source, encoding="utf-8")
    if APP_DIR not in sys.path:
        sys.path.insert(0, APP_DIR)
    os.chdir(APP_DIR)
    importlib.invalidate_caches()
    linecache.clearcache()


def check(files):
    """Compile every file without running it; returns ``""`` or what Python would print."""
    for path, source in json.loads(files).items():
        if not path.endswith(".py"):
            continue
        filename = f"{APP_DIR}/{path}"
        try:
            compile(source, filename, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            lines = source.splitlines(keepends=True)
            linecache.cache[filename] = (len(source), None, lines, filename)
            return readers_traceback(error)
    return ""


def readers_traceback(error):
    """Format *error* from the reader's first frame on; our own frames only confuse."""
    frame = error.__traceback__
    while frame is not None and not frame.tb_frame.f_code.co_filename.startswith(APP_DIR):
        frame = frame.tb_next
    if frame is None and not isinstance(error, SyntaxError):
        frame = error.__traceback__
    return "".join(traceback.format_exception(type(error), error, frame))
