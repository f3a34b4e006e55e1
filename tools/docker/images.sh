#!/usr/bin/env bash
# Stand-ins for the official images that the stacks name, made from Debian packages, for a
# machine that reaches no registry. Only for an engine that with-engine.sh has started: another
# engine's real images are better, and must not be replaced.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
cache=$(readlink -f ../../.cache)/docker/rootfs
mirror=$(sh mirror.sh)
key=$(cat images.sh images/*/* | sha256sum | cut -c1-16)
# An image that is imported again gets a new id, and all that was built on it is built anew.
docker image inspect "standin/done:$key" >/dev/null 2>&1 && exit 0

mkdir -p "$cache"
work=$(mktemp -d -p "$([ -d /dev/shm ] && echo /dev/shm || echo /tmp)")
trap 'rm -rf "$work"' EXIT

rootfs() { # NAME PACKAGES MMDEBSTRAP-OPTIONS...: make or find $cache/NAME-KEY.tar.zst
    local name=$1 packages=$2
    shift 2
    tarball=$cache/$name-$key.tar.zst
    [ -s "$tarball" ] && return
    rm -f "$cache/$name"-*
    TMPDIR=$work mmdebstrap --quiet --variant=minbase --include="$packages" \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "5"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --customize-hook='cp /etc/ssl/certs/ca-certificates.crt $1/etc/ssl/certs/' \
        "$@" trixie - "$mirror" | zstd -q -1 -T0 >"$tarball.part"
    mv "$tarball.part" "$tarball"
}

image() { # CONTEXT TAG, Dockerfile on stdin
    docker build --quiet --tag "$2" --file - "$1" >/dev/null
}

# python: /usr/local is a virtual environment, so that pip installs to
# /usr/local/lib/python3.13/site-packages, as in the official image.
rootfs python ca-certificates,netbase,tzdata,python3,python3.13-venv \
    --customize-hook='rm -f $1/usr/lib/python3.13/EXTERNALLY-MANAGED' \
    --customize-hook='chroot $1 python3.13 -m venv --system-site-packages /usr/local' \
    --customize-hook='ln -sf python3.13 $1/usr/local/bin/python3' \
    --customize-hook='ln -sf python3.13 $1/usr/local/bin/python' \
    --customize-hook='ln -sf /usr/bin/python3.13 $1/usr/local/bin/python3.13'
zstd -dc "$tarball" | docker import --change 'CMD ["python3"]' \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8' - python:3.13-slim-trixie >/dev/null

# services: one file system for all; PostgreSQL without its just-in-time compiler, which is
# more than half of it. The package would make a cluster of 16 MB: it is told not to.
rootfs services \
    ca-certificates,netbase,tzdata,gosu,valkey-server,valkey-tools,postgresql-17,nginx,memcached,prometheus \
    --dpkgopt='path-exclude=/usr/lib/x86_64-linux-gnu/libLLVM*' \
    --dpkgopt='path-exclude=/usr/lib/x86_64-linux-gnu/libz3*' \
    --dpkgopt='path-exclude=/usr/lib/postgresql/17/lib/llvmjit*' \
    --dpkgopt='path-exclude=/usr/lib/postgresql/17/lib/bitcode/*' \
    --dpkgopt='path-exclude=/usr/share/javascript/*' --dpkgopt='path-exclude=/usr/share/fonts/*' \
    --essential-hook='mkdir -p $1/etc/postgresql-common' \
    --essential-hook='echo "create_main_cluster = false" >$1/etc/postgresql-common/createcluster.conf' \
    --customize-hook='chroot $1 useradd --system --no-create-home --shell /usr/sbin/nologin nginx'
zstd -dc "$tarball" | docker import - standin/services:trixie >/dev/null

image images/valkey valkey/valkey:8.1 <<'END'
FROM standin/services:trixie
COPY --chmod=755 docker-entrypoint.sh /usr/local/bin/
RUN mkdir -p /data && chown valkey:valkey /data
VOLUME /data
WORKDIR /data
EXPOSE 6379
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["valkey-server"]
END
image images/postgres postgres:17 <<'END'
FROM standin/services:trixie
ENV LANG=C.UTF-8 PGDATA=/var/lib/postgresql/data
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/17/bin
COPY --chmod=755 docker-entrypoint.sh /usr/local/bin/
RUN mkdir -p "$PGDATA" && chown -R postgres:postgres /var/lib/postgresql && chmod 1777 "$PGDATA"
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
END
image images/nginx nginx:1.26 <<'END'
FROM standin/services:trixie
COPY nginx.conf /etc/nginx/nginx.conf
RUN rm -f /etc/nginx/sites-enabled/default && chown -R nginx /var/lib/nginx \
    && ln -sf /dev/stdout /var/log/nginx/access.log && ln -sf /dev/stderr /var/log/nginx/error.log
STOPSIGNAL SIGQUIT
EXPOSE 80
CMD ["nginx", "-g", "daemon off;"]
END
image images/valkey memcached:1.6 <<'END'
FROM standin/services:trixie
USER memcache
EXPOSE 11211
CMD ["memcached"]
END
image images/valkey prom/prometheus:v2.53.3 <<'END'
FROM standin/services:trixie
RUN prometheus --version 2>&1 | grep -F 'version 2.53.3+' \
    && install -d -o nobody -g nogroup /prometheus
USER nobody
VOLUME /prometheus
WORKDIR /prometheus
EXPOSE 9090
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
END
printf 'FROM scratch\nLABEL key=%s\n' "$key" | docker build --quiet --tag "standin/done:$key" - >/dev/null
