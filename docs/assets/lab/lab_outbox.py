"""What leaves an interpreter: one list, handed to JavaScript once per loop iteration."""

import json

_items = []
_emit = None


def attach(emit):
    """Hand output to *emit* (JavaScript: JSON text of a list) from now on."""
    global _emit
    _emit = emit


def put(item):
    """Queue *item* (typedef ``WorkerOutput`` or ``ClientOutput`` in ``protocol.js``)."""
    _items.append(item)


def flush():
    """Hand everything over that was put since the last call."""
    if _items and _emit is not None:
        text = json.dumps(_items)
        _items.clear()
        _emit(text)


def take():
    """Return and forget what was put; for the warm-up at build time."""
    items = _items[:]
    _items.clear()
    return items


class LineWriter:
    """``sys.stdout`` and ``sys.stderr``: complete lines go out at once, in order.

    At once, because the code that prints may never come back (an endless loop).
    """

    encoding = "utf-8"
    errors = "strict"

    def __init__(self, stream):
        self._stream, self._held = stream, ""

    def write(self, text):
        """Hold *text* until its line is complete."""
        self._held += text
        if "\n" in self._held:
            lines, _, self._held = self._held.rpartition("\n")
            put(["log", self._stream, lines])
            flush()
        return len(text)

    def flush(self):
        """Send an incomplete line too."""
        if self._held:
            put(["log", self._stream, self._held])
            self._held = ""
            flush()

    def writable(self):
        """Be a text stream."""
        return True

    def isatty(self):
        """Be no terminal."""
        return False

    def fileno(self):
        """Be no file."""
        raise OSError("no file descriptor")
