#!/bin/sh
# Compile requirements.in into requirements.txt: every package pinned, with hashes.
set -eu
cd "$(dirname "$0")/.."
.venv/bin/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes \
    --no-emit-index-url --custom-compile-command "make lock" requirements.in -o requirements.txt
.venv/bin/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes \
    --no-emit-index-url --custom-compile-command "make lock" --constraints requirements.txt \
    examples/requirements.in -o examples/requirements.txt
