#!/bin/sh
# Install what some tests need on Debian: Chromium, Firefox and a Japanese font to look at it,
# PostgreSQL, Memcached and nginx (their servers are started by the engine, not by the system).
# Elsewhere, say what is missing in one line.
set -eu
missing=""
command -v chromium >/dev/null 2>&1 || missing="chromium"
[ -n "$(find /usr/share/fonts -iname '*NotoSansCJK*' 2>/dev/null | head -n 1)" ] || missing="$missing fonts-noto-cjk"
command -v memcached >/dev/null 2>&1 || missing="$missing memcached"
command -v nginx >/dev/null 2>&1 || [ -x /usr/sbin/nginx ] || missing="$missing nginx"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
firefox=""
command -v firefox-esr >/dev/null 2>&1 || firefox=firefox-esr
[ -n "$missing$firefox" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    [ -n "$missing" ] || exit 0
    echo "install-extras: $missing がありません。お使いの OS の方法で入れてから、もう一度実行してください。" >&2
    exit 2
fi
sudo=""
[ "$(id -u)" -eq 0 ] || sudo=sudo
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q >/dev/null
apt-cache show firefox-esr >/dev/null 2>&1 || firefox="" # Ubuntu has none: its tests are skipped
[ -n "$missing$firefox" ] || exit 0
# shellcheck disable=SC2086  # a list of packages
$sudo apt-get install -q -y --no-install-recommends $missing $firefox >/dev/null
case " $missing " in # a system with systemd starts it on port 80; nobody asked for that
*" nginx "*) $sudo systemctl disable --now nginx >/dev/null 2>&1 || true ;;
esac
