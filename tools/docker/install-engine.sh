#!/bin/sh
# Install a Docker engine with Compose and BuildKit, and mmdebstrap for the stand-in images.
# Debian 12 gets them from Debian 13: by package/release, never by `-t`, which would replace
# runc and with it libc.
set -eu
if command -v dockerd >/dev/null 2>&1 && command -v mmdebstrap >/dev/null 2>&1 &&
    docker compose version >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1; then
    exit 0
fi
command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ] || {
    echo "Debian の root でないと、エンジンを入れられません。" >&2
    exit 2
}
export DEBIAN_FRONTEND=noninteractive
from=
if grep -q '^VERSION_CODENAME=bookworm$' /etc/os-release; then
    from=/trixie
    mirror=$(sh "$(dirname "$0")/mirror.sh")
    echo "deb $mirror trixie main" >/etc/apt/sources.list.d/workerlab-trixie.list
    printf 'Package: *\nPin: release n=trixie\nPin-Priority: 100\n' \
        >/etc/apt/preferences.d/workerlab-trixie
fi
apt-get update -q
apt-get install -q -y --no-install-recommends "docker.io$from" "docker-cli$from" \
    "docker-compose$from" "docker-buildx$from" \
    iptables iproute2 mmdebstrap debian-archive-keyring zstd ca-certificates
