#!/usr/bin/env bash
# Run a command with a Docker engine: tools/docker/with-engine.sh COMMAND...
#
# An engine that answers is used as it is, with its own images. Where none does (Debian, root),
# one is installed, started on a socket of its own, given stand-ins for the official images
# (images.sh), and stopped by its process id when the command ends. What it keeps lies in
# .cache/docker, which `make clean` removes.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
here=tools/docker
cache=$PWD/.cache/docker
run=/run/workerlab-docker
export BUILDKIT_PROGRESS=plain COMPOSE_ANSI=never COMPOSE_PROGRESS=plain

if docker version >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; then
    exec "$@"
fi

mkdir -p "$cache"
sh "$here/install-engine.sh" >"$cache/install.log" 2>&1 || {
    tail -n 5 "$cache/install.log" >&2
    echo "with-engine: Docker エンジンを入れられませんでした（全文: $cache/install.log）。Docker を起動してから、もう一度実行してください。" >&2
    exit 2
}

engine=
stop() {
    status=$?
    trap - EXIT INT TERM HUP
    if [ -n "$engine" ] && kill -TERM "$engine" 2>/dev/null; then
        for _ in $(seq 120); do
            kill -0 "$engine" 2>/dev/null || break
            sleep 0.5
        done
        if kill -0 "$engine" 2>/dev/null; then
            echo "with-engine: dockerd（$engine）が 60 秒待っても止まりません。" >&2
            status=2
        fi
    fi
    rm -rf "$run"
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM HUP

mkdir -p "$run"
export DOCKER_HOST=unix://$run/docker.sock
setsid dockerd --host "$DOCKER_HOST" --data-root "$cache/data" --exec-root "$run/exec" \
    --pidfile "$run/docker.pid" >"$cache/dockerd.log" 2>&1 </dev/null &
engine=$!
for _ in $(seq 240); do
    docker version >/dev/null 2>&1 && break
    kill -0 "$engine" 2>/dev/null || break
    sleep 0.5
done
docker version >/dev/null 2>&1 || {
    tail -n 5 "$cache/dockerd.log" >&2
    echo "with-engine: dockerd を起動できませんでした（全文: $cache/dockerd.log）。" >&2
    exit 2
}
bash "$here/images.sh"
"$@"
