#!/bin/sh
# As the official image: run as the user `valkey`, with protected mode off.
set -e
[ "${1#-}" = "$1" ] || set -- valkey-server "$@"
if [ "$1" = valkey-server ]; then
    if [ "$(id -u)" = 0 ]; then
        chown -R valkey: .
        exec gosu valkey "$0" "$@"
    fi
    set -- "$@" --protected-mode no
fi
exec "$@"
