#!/bin/sh
# Run Lighthouse, as package-lock.json pins it, on the built site. Needs npm and Chromium; run
# after `make site`.
set -eu
cd "$(dirname "$0")/../.."
cache=.cache/lighthouse
mkdir -p "$cache"
if ! cmp -s tools/lighthouse/package-lock.json "$cache/package-lock.json" || [ ! -d "$cache/node_modules/lighthouse" ]; then
    cp tools/lighthouse/package.json tools/lighthouse/package-lock.json "$cache/"
    npm ci --prefix "$cache" --silent --no-audit --no-fund --ignore-scripts
fi
exec node tools/lighthouse/audit.mjs
