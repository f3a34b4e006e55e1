"""Compile requirements.in into requirements.txt for Pyodide's platform: pins and hashes.

Run with any Python that has pip >= 25: ``python tools/lab/lock.py``.
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TARGET = [
    "--platform", "pyemscripten_2026_0_wasm32", "--python-version", "3.14",
    "--implementation", "cp", "--abi", "cp314", "--abi", "abi3", "--abi", "none",
    "--only-binary=:all:",
]  # fmt: skip


def main() -> None:
    """Ask pip for its resolution and write it down, without any address."""
    report = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
         "--target", "unused", *TARGET, "--report", "-", "-r", str(HERE / "requirements.in")],
        check=True, stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    lines = ["# Compiled from requirements.in by tools/lab/lock.py; do not edit."]
    for item in sorted(
        json.loads(report)["install"], key=lambda i: i["metadata"]["name"].lower()
    ):
        name, version = item["metadata"]["name"], item["metadata"]["version"]
        digest = item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}")
    (HERE / "requirements.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
