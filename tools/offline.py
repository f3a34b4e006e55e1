"""Tell the service worker which build it belongs to, and which small files a lab consists of.

The version is a hash of every file of the site that a reader can get: any change makes a new
worker, which renews what the old one kept. Runs last, when the pages are as they are served.
"""

import hashlib
import json
from pathlib import Path

SITE = Path(__file__).resolve().parents[1] / "site"
LAB = ("*.js", "*.py", "*.css", "vendor/*")
"""Without the topics, which belong to their pages, and the runtime, which is large."""
UNSEEN = ("sw.js", "sitemap.xml", "sitemap.xml.gz")
VERSION_LINE = 'const VERSION = "dev";'
LAB_LINE = "const LAB = [];"


def version() -> str:
    """Twelve hex digits that change with any file."""
    digest = hashlib.sha256()
    for path in sorted(SITE.rglob("*")):
        name = path.relative_to(SITE).as_posix()
        if path.is_file() and name not in UNSEEN:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()[:12]


def lab_files(site: Path) -> list[str]:
    """Addresses below the site's own."""
    folder = site / "assets" / "lab"
    found = (path for pattern in LAB for path in folder.glob(pattern))
    return sorted(path.relative_to(site).as_posix() for path in found)


def main() -> None:
    """Write both lines."""
    path = SITE / "sw.js"
    text = path.read_text(encoding="utf-8")
    for line, value in ((VERSION_LINE, version()), (LAB_LINE, lab_files(SITE))):
        if text.count(line) != 1:
            raise SystemExit(f"{path.name} に {line} がありません。")
        start = line.split(" = ")[0]
        text = text.replace(line, f"{start} = {json.dumps(value)};")
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
