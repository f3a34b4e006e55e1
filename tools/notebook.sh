#!/bin/sh
# Open JupyterLab in notebooks/. It is installed on the first call: nothing else needs it.
# $NOTEBOOK_OPTIONS: more arguments for JupyterLab (--no-browser).
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/.notebook-stamp
wanted=$(cat requirements.txt requirements-notebook.txt | cksum)
if ! [ -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    echo "make notebook: JupyterLab を入れています（初回は 1 分ほど）…" >&2
    if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
        -r requirements-notebook.txt; then
        echo "make notebook: JupyterLab を入れられませんでした。ネットワークを確かめて、もう一度実行してください。" >&2
        exit 2
    fi
    echo "$wanted" >"$stamp"
fi
as_root=
[ "$(id -u)" != 0 ] || as_root=--allow-root # in a container
# The project's folder is the root, so that links from notebooks to pages and examples open.
# shellcheck disable=SC2086  # several options, or none
exec .venv/bin/python -m jupyterlab --ip=127.0.0.1 --port="${PORT:-8888}" \
    --ServerApp.root_dir="$PWD" --LabApp.default_url=/lab/tree/notebooks \
    --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
    $as_root ${NOTEBOOK_OPTIONS:-}
