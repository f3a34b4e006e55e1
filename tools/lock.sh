#!/bin/sh
# Compile requirements*.in into requirements*.txt: every package pinned, with hashes.
set -eu
cd "$(dirname "$0")/.."
for name in requirements requirements-notebook; do
    .venv/bin/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes \
        --no-emit-index-url --custom-compile-command "make lock" "$name.in" -o "$name.txt"
done
.venv/bin/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes \
    --no-emit-index-url --custom-compile-command "make lock" --constraints requirements.txt \
    examples/requirements.in -o examples/requirements.txt
