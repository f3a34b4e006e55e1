"""gunicorn の設定。標準出力を、だれも読まないパイプにつなぎます。"""

import fcntl
import os
from typing import Any

graceful_timeout = 1  # 秒。書けずに止まったリクエストを、終了のときに待ち続けない


# --8<-- [start:hook]
def on_starting(server: Any) -> None:
    server.unread, writer = os.pipe()  # 読む口は開いたまま、だれも読まない
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.dup2(writer, 1)


# --8<-- [end:hook]
