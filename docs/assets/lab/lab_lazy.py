"""Modules that are not in the snapshot: the first import of one loads the lazy pack.

The pack is fetched by JavaScript with one synchronous request (then from the browser's cache).
Every entry is compressed by itself, so an interpreter inflates only what it imports.
"""

import importlib.machinery
import json
import marshal
import pathlib
import sys
import zlib

names = {}  # module name → (is_package, origin); filled at build time
_fetch = None
_pack = None


def attach(fetch):
    """Use *fetch* (JavaScript: () → Uint8Array of the whole pack) from now on."""
    global _fetch
    _fetch = fetch


class _Pack:
    """The fetched pack: four bytes (length of the index), the index as JSON, the entries."""

    def __init__(self, data):
        size = int.from_bytes(data[:4], "little")
        self._data, self._base = data, 4 + size
        self._index = {name: (at, n) for name, at, n in json.loads(data[4 : 4 + size])}
        for name in self._index:
            if name.startswith("/"):
                file = pathlib.Path(name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(self.read(name))

    def read(self, name):
        at, length = self._index[name]
        return zlib.decompress(self._data[self._base + at : self._base + at + length])


class LazyFinder:
    """A meta path finder over ``names``."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Return a spec for a module of the pack, else None."""
        entry = names.get(name)
        if entry is None or _fetch is None:
            return None
        is_package, origin = entry
        spec = importlib.machinery.ModuleSpec(
            name, LazyLoader, origin=origin, is_package=is_package
        )
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations.append(origin.rpartition("/")[0])
        return spec


class LazyLoader:
    """Runs code that is stored, marshalled, in the pack."""

    @staticmethod
    def create_module(spec):
        """Use the default module."""
        return None

    @staticmethod
    def get_code(name):
        """Return the code object of *name*."""
        global _pack
        if _pack is None:
            _pack = _Pack(_fetch().to_bytes())
        return marshal.loads(_pack.read(name))

    @staticmethod
    def exec_module(module):
        """Run the module's code."""
        exec(LazyLoader.get_code(module.__name__), module.__dict__)


def install():
    """Ask this finder first; it only knows names that the file system lacks."""
    sys.meta_path.insert(0, LazyFinder)


def install_from(index):
    """Take the names from *index* (JSON), on the plain path that has no snapshot."""
    names.update(json.loads(index))
    install()
