#!/bin/sh
# Check the JSDoc types of the lab and the search with the TypeScript that package-lock.json pins.
# Needs npm; run after `make site`, whose files some modules import.
set -eu
cd "$(dirname "$0")/../.."
cache=.cache/types
mkdir -p "$cache"
if ! cmp -s tools/types/package-lock.json "$cache/package-lock.json" || [ ! -x "$cache/node_modules/.bin/tsc" ]; then
    cp tools/types/package.json tools/types/package-lock.json "$cache/"
    npm ci --prefix "$cache" --silent --no-audit --no-fund
fi
exec "$cache/node_modules/.bin/tsc" -p tsconfig.json
