"""Valkey、PostgreSQL、Memcached につながるまで待ちます。

docker stack deploy は、サービスの順番を守りません。Kubernetes も同じです。
つながらないまま始めると、起動のときに接続を使う実験が「始められません」と答え続けます。
"""

import os
import socket
import sys
import time
from urllib.parse import urlsplit

NAMES = ("REDIS_URL", "DATABASE_URL", "MEMCACHED_URL")


# --8<-- [start:wait]
def wait_for(name: str, deadline: float) -> None:
    """*name* の URL につながるまで待ちます。間に合わなければ、理由を言って終わります。"""
    address = urlsplit(os.environ[name])
    while True:
        try:
            socket.create_connection((address.hostname, address.port), timeout=2).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                sys.exit(f"{name} につながりません: {error}")
            time.sleep(0.2)


# --8<-- [end:wait]
if __name__ == "__main__":
    limit = time.monotonic() + float(os.environ.get("WAIT_SECONDS", "120"))
    for each in NAMES:
        if os.environ.get(each):
            wait_for(each, limit)
