"""The benchmark's yardstick: ``print(1+1)`` in JupyterLite's REPL, built from PyPI.

Built once into .cache/lab/jupyterlite; everything is served from there, nothing from elsewhere
(JupyterLite's defaults fetch Pyodide and some wheels from other hosts).
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import harness

CACHE = harness.ROOT / ".cache/lab"
PYODIDE = CACHE / "npm/node_modules/pyodide"
HOME = CACHE / "jupyterlite"
SITE = HOME / "site"
REQUIREMENTS = ("jupyterlite-core==0.8.6", "jupyterlite-pyodide-kernel==0.8.6")
NEEDED = ("micropip", "ipython", "jedi")  # the kernel loads these from Pyodide's lock file
NOT_IN_LOCK = "comm==0.2.3"  # and this one from the site's own wheels
KERNEL = "@jupyterlite/pyodide-kernel-extension:kernel"
QUERY = "repl/index.html?kernel=python&execute=1&code=print(1%2B1)"


def _run(*command):
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def _closure(packages, names):
    """The lock file's entries of *names* and all that they depend on."""
    found, queue = {}, list(names)
    while queue:
        name = queue.pop().lower().replace("_", "-")
        if name not in found:
            found[name] = packages[name]
            queue += packages[name]["depends"]
    return found


def _write_pyodide(target):
    """Pyodide from npm, with a lock file whose wheels come from PyPI and lie beside it."""
    shutil.copytree(PYODIDE, target)
    lock = json.loads((PYODIDE / "pyodide-lock.json").read_text())
    lock["packages"] = _closure(lock["packages"], NEEDED)
    wanted = [f"{name}=={entry['version']}" for name, entry in lock["packages"].items()]
    _run(sys.executable, "-m", "pip", "download", "--no-deps", "--dest", target, *wanted)
    for entry in lock["packages"].values():
        stem = "-".join(entry["file_name"].split("-")[:2])
        wheel = next(target.glob(f"{stem}-*.whl"))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        entry.update(file_name=wheel.name, sha256=digest)
    (target / "pyodide-lock.json").write_text(json.dumps(lock))


def build():
    """Build the site unless it is there."""
    if (HOME / "done").exists():
        return
    shutil.rmtree(HOME, ignore_errors=True)
    _run(sys.executable, "-m", "venv", HOME / "venv")
    python = HOME / "venv/bin/python"
    _run(python, "-m", "pip", "install", "--quiet", *REQUIREMENTS)
    source = HOME / "source"
    _run(python, "-m", "pip", "download", "--no-deps", "--dest", source / "pypi", NOT_IN_LOCK)
    settings = {
        "pyodideUrl": "./static/pyodide/pyodide.mjs",
        "loadPyodideOptions": {"lockFileURL": "./static/pyodide/pyodide-lock.json"},
        "disablePyPIFallback": True,
    }
    config = {"jupyter-lite-schema-version": 0,
              "jupyter-config-data": {"litePluginSettings": {KERNEL: settings}}}  # fmt: skip
    (source / "jupyter-lite.json").write_text(json.dumps(config))
    _run(HOME / "venv/bin/jupyter", "lite", "build", "--lite-dir", source, "--output-dir", SITE)
    _write_pyodide(SITE / "static/pyodide")
    Path(HOME / "done").touch()


def _visit(page, url):
    page.goto(url)
    page.wait_for_selector(".jp-OutputArea-output:has-text('2')", timeout=180_000)


def jupyterlite_rows(measured, settle):
    """One cold and one warm visit in a fresh profile, as (name, row)."""
    build()
    rows = []
    with (
        harness.serving(SITE, prefix=harness.PREFIX) as server,
        harness.sync_playwright() as playwright,
        harness.chromium(playwright) as context,
    ):
        for kind in ("cold", "warm"):
            page = context.new_page()
            _, row = measured(server, lambda page=page: _visit(page, server.url + QUERY))
            rows.append((f"JupyterLite print(1+1), {kind}", row))
            settle()
            page.close()
    return rows
