#!/bin/sh
# Make the secrets of one stack, once: sh tools/docker/secrets.sh stg|prod
# The folder keeps other users out; the files themselves are read by the container's user.
set -eu
case ${1:-} in stg | prod) ;; *)
    echo "secrets.sh: stg か prod を指定してください。" >&2
    exit 2
    ;;
esac
cd "$(dirname "$0")/../.."
mkdir -p secrets
chmod 700 secrets
mkdir -p "secrets/$1"
for name in secret_key db_password; do
    file=secrets/$1/$name
    [ -s "$file" ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$file"
    chmod 644 "$file"
done
