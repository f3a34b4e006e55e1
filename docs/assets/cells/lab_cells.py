"""The cells of a notebook in the page's client interpreter; ``kernel.js`` is the other side.

One name space for all cells, ``await`` at the top level, and the value of the last expression
is shown: as in Jupyter.
"""

import asyncio
import itertools
import json
import re
import traceback
from html import escape

import lab_client
import lab_files
from lab_outbox import flush, put
from pyodide.code import eval_code_async

import workerlab

workerlab.__path__.append(f"{lab_files.APP_DIR}/stage")

from workerlab import results  # noqa: E402  (from the folder above)
from workerlab.errors import WorkerlabError  # noqa: E402

results._idents = itertools.count(1000)  # beside the recorded outputs, on the same page

FOLDER = "cells"
workers = 4
"""How many workers a run gets when a cell does not say; the page decides by the device."""
_names = {}
_waiting = {}
_numbers = itertools.count(1)


def configure(count):
    """Set the number of workers before the first cell."""
    global workers
    workers = count


async def execute(ident, source):
    """Run one cell; returns JSON: ``html``, ``failure`` or ``traceback`` (see kernel.js)."""
    path = f"{FOLDER}/{ident}.py"
    lab_files.write(json.dumps({path: source}))  # where tracebacks find its lines
    filename = f"{lab_files.APP_DIR}/{path}"
    try:
        value = await eval_code_async(source, globals=_names, filename=filename)
        outcome = {"html": "" if value is None else _html(value)}
    except WorkerlabError as error:
        outcome = {"failure": str(error)}
    except BaseException as error:
        outcome = {"traceback": _traceback(error)}
    return json.dumps(outcome)


def _html(value):
    """What the cell shows; the page's policy allows no ``style`` attribute."""
    if hasattr(value, "_repr_html_"):
        return re.sub(r' style="[^"]*"', "", value._repr_html_())
    return f"<pre>{escape(repr(value))}</pre>"


def _traceback(error):
    """From the first cell's frame on; what ran the cell only confuses."""
    frame = error.__traceback__
    while frame and f"/{FOLDER}/" not in frame.tb_frame.f_code.co_filename:
        frame = frame.tb_next
    lines = traceback.format_exception(type(error), error, frame or error.__traceback__)
    return "".join(lines).replace(f"{lab_files.APP_DIR}/{FOLDER}/", "")


async def ask(*fields):
    """Ask the page, and wait for its answer."""
    number = next(_numbers)
    _waiting[number] = asyncio.get_running_loop().create_future()
    put(["notebook", number, *fields])
    flush()
    try:
        return await _waiting[number]
    finally:
        del _waiting[number]


def answer(number, value):
    """Take the page's answer (JSON)."""
    _waiting[number].set_result(json.loads(value))


def trace():
    """What the experiment that was just played wrote down."""
    return lab_client._cluster.trace
