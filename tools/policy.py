"""Give the built site its Content-Security-Policy: in each page, and as headers for hosts.

The theme's inline scripts are allowed by their hashes; no other inline script runs. Each page
has the policy as ``<meta>``, for hosts that send no headers (GitHub Pages); ``_headers`` has it
for those that do (Netlify, Cloudflare Pages) and for ``make serve``, with what only a header
can say.
"""

import base64
import hashlib
import re
from pathlib import Path

SITE = Path(__file__).resolve().parents[1] / "site"
INLINE = re.compile(r"<script>(.*?)</script>", re.S)
"""Scripts that run; Material's settings are JSON with a ``type`` and need no leave."""
CHARSET = '<meta charset="utf-8">'
HEADERS = """/*
  Content-Security-Policy: {policy}
  Referrer-Policy: strict-origin-when-cross-origin
  X-Content-Type-Options: nosniff
"""


def hashes(page: str) -> set[str]:
    """CSP sources of the page's inline scripts."""
    digests = (hashlib.sha256(script.encode()).digest() for script in INLINE.findall(page))
    return {f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests}


def policy(scripts: set[str]) -> str:
    """Everything from our own host; WebAssembly may be compiled, text never run as code."""
    rules = {
        "default-src": "'none'",
        "base-uri": "'none'",
        "connect-src": "'self' blob: data:",  # Pyodide reads its library from memory
        "font-src": "'self'",
        "form-action": "'none'",
        "img-src": "'self' data:",
        "manifest-src": "'self'",
        "script-src": " ".join(["'self'", "'wasm-unsafe-eval'", *sorted(scripts)]),
        "style-src": "'self'",
        "style-src-elem": "'self' 'unsafe-inline'",  # CodeMirror writes its own
        "worker-src": "'self'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in rules.items())


def insert(page: str, rules: str) -> str:
    """The page with its policy before anything that the policy is about."""
    if CHARSET not in page:
        raise SystemExit(f"ページに {CHARSET} がありません。")
    meta = f'<meta http-equiv="Content-Security-Policy" content="{rules}">'
    return page.replace(CHARSET, f"{CHARSET}\n      {meta}", 1)


def main() -> None:
    """Write both."""
    everywhere: set[str] = set()
    for path in sorted(SITE.rglob("*.html")):
        page = path.read_text(encoding="utf-8")
        own = hashes(page)
        everywhere |= own
        path.write_text(insert(page, policy(own)), encoding="utf-8")
    rules = policy(everywhere) + "; frame-ancestors 'none'"
    (SITE / "_headers").write_text(HEADERS.format(policy=rules), encoding="utf-8")


if __name__ == "__main__":
    main()
