"""gunicorn の設定。ディスクが小さいかのように、1 つのファイルを 1 MiB までにします。"""

import resource
from typing import Any


# --8<-- [start:hook]
def post_fork(server: Any, worker: Any) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))


# --8<-- [end:hook]
