#!/bin/sh
# Create .venv with every pinned dependency and `workerlab`; quick when nothing changed.
# Python >= 3.12 is needed. Order of search: $PYTHON, python3.13/3.12/3.14/python3 on PATH,
# interpreters of pyenv and uv on disk, and at last a download through uv.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/.setup-stamp
wanted=$(cat requirements.txt pyproject.toml tools/setup.sh | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && .venv/bin/workerlab --version >/dev/null 2>&1; then
    exit 0
fi

suitable() { # runs, is new enough, and can make a virtual environment
    "$1" -c 'import ensurepip, ssl, sys, venv; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

find_python() {
    # shellcheck disable=SC2086  # an empty $PYTHON must vanish
    for candidate in ${PYTHON:-} python3.13 python3.12 python3.14 python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13.*/bin/python3 \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[24-9].*/bin/python3 \
        "${UV_PYTHON_INSTALL_DIR:-$HOME/.local/share/uv/python}"/cpython-3.1[2-9].*/bin/python3; do
        if command -v "$candidate" >/dev/null 2>&1 && suitable "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    download_python
}

download_python() {
    uv=$(command -v uv || true)
    if [ -z "$uv" ] && python3 -m venv .cache/uv >/dev/null 2>&1 &&
        .cache/uv/bin/python -m pip install --quiet uv >/dev/null 2>&1; then
        uv=.cache/uv/bin/uv
    fi
    [ -n "$uv" ] || return 1
    echo "Python 3.13 を uv で取得しています…" >&2
    "$uv" python install 3.13 >/dev/null 2>&1 && "$uv" python find 3.13
}

if [ -x .venv/bin/python ] && suitable .venv/bin/python; then
    python=.venv/bin/python # keep it: only what changed is installed
elif ! python=$(find_python); then
    echo "make setup: Python 3.12 以上が見つからず、取得もできませんでした。python3.12 以上と venv を入れてから（例: sudo apt install python3 python3-venv）、または PYTHON=/path/to/python3 を付けて、もう一度実行してください。" >&2
    exit 2
fi

echo "make setup: $("$python" --version) で .venv を準備しています（初回は 1 分ほど）…" >&2
lock=.setup-lock
if ! mkdir "$lock" 2>/dev/null; then
    echo "make setup: 別の make setup が実行中です。終わってから、もう一度実行してください（残っているだけなら rmdir $lock）。" >&2
    exit 2
fi
trap 'rmdir "$lock"' EXIT
trap 'exit 130' INT TERM HUP
rm -f "$stamp"
[ "$python" = .venv/bin/python ] || "$python" -m venv --clear .venv
log=.venv/setup.log
if ! {
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt &&
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
} >"$log" 2>&1; then
    grep -v '^WARNING' "$log" | tail -n 5 >&2
    echo "make setup: 依存を入れられませんでした。ネットワークを確かめて、もう一度実行してください（全文: $log）。" >&2
    exit 2
fi
echo "$wanted" >"$stamp"
