"""Check the Japanese of everything in scope with the textlint that package-lock.json pins.

Needs Node.js 20 or later with npm the first time; then nothing from the network. Names what is
wrong as ``file:line``. Fails, too, when a file was not read.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from texts import ROOT, sources, texts

HERE = Path(__file__).parent
CACHE = ROOT / ".cache" / "textlint"
PACKAGES = ("package.json", "package-lock.json")


def main() -> int:
    """Lint the files that were named, else all; 1 when there is something to mend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    files = [path.resolve() for path in parser.parse_args().files] or sources()
    install()
    found = lint(files)
    print(*found, sep="\n", end="\n" if found else "")
    print(f"textlint: {len(files)} files, {len(found)} messages")
    return 1 if found else 0


def install() -> None:
    """Install the locked packages, unless they lie there already."""
    lock = (HERE / "package-lock.json").read_bytes()
    done = CACHE / "installed.json"
    if done.exists() and done.read_bytes() == lock:
        return
    if shutil.which("npm", path=environment()["PATH"]) is None:
        raise SystemExit(
            "make lint-ja: npm がありません。"
            "Node.js 20 以上を入れるか、先に make lab を実行してください。"
        )
    CACHE.mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        (CACHE / name).write_bytes((HERE / name).read_bytes())
    npm = ["npm", "ci", "--prefix", str(CACHE), "--silent", "--no-audit", "--no-fund"]
    subprocess.run([*npm, "--ignore-scripts"], check=True, env=environment())
    done.write_bytes(lock)


def lint(files: Sequence[Path]) -> list[str]:
    """All messages, each with the file and line of the source."""
    with tempfile.TemporaryDirectory(prefix="workerlab-textlint-") as name:
        folder = Path(name).resolve()
        copies = {folder / f"{number}.md": path for number, path in enumerate(files)}
        for copy, path in copies.items():
            copy.write_text(texts(path), "utf-8")
        results = {Path(result["filePath"]): result for result in textlint(folder)}
    unread = [path for copy, path in copies.items() if copy not in results]
    if unread:
        raise SystemExit(f"textlint did not read {unread}")
    return [
        describe(path, message)
        for copy, path in copies.items()
        for message in results[copy]["messages"]
    ]


def textlint(folder: Path) -> list[dict[str, Any]]:
    """What textlint says of the Markdown files in the folder; an entry for each."""
    modules = CACHE / "node_modules"
    command = [str(modules / ".bin" / "textlint"), "--format", "json", "--config"]
    command += [str(HERE / ".textlintrc.js"), "--rules-base-directory", str(modules), "."]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1) or not done.stdout:
        raise SystemExit(done.stdout + done.stderr)
    if done.stderr:
        print(done.stderr, file=sys.stderr)
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def describe(path: Path, message: dict[str, Any]) -> str:
    """``docs/index.md:12: サーバ => サーバー (prh)``."""
    place = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    what = str(message["message"]).partition("\n")[0]
    return f"{place}:{message['line']}: {what} ({message['ruleId']})"


def environment() -> dict[str, str]:
    """With the Node.js that `make lab` took from PyPI, for a machine that has none."""
    own = ROOT / ".cache" / "lab" / "node" / "bin"
    return {**os.environ, "PATH": f"{os.environ['PATH']}{os.pathsep}{own}"}


if __name__ == "__main__":
    sys.exit(main())
