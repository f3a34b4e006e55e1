"""WatchedFileHandler で開き直しながら、大きくなったら名前を付け替えます。

誘惑: ファイルが入れ替わると開き直すので、複数のプロセスに対応しているように見えます。
破綻: 開き直すだけで順番は決めないので、同じ大きさを見た全員が 1 回ずつ付け替えます。
"""

import contextlib
import logging
import os
import re
import time
from itertools import pairwise
from logging.handlers import WatchedFileHandler
from pathlib import Path

from fastapi import FastAPI

FOLDER = Path(os.environ.get("DATA_DIR", "."))

COMPRESS = 0.05  # 秒。古いログを圧縮する時間のつもり


# --8<-- [start:fix]
FILES = [FOLDER / name for name in ("app.log", "app.log.1", "app.log.2", "app.log.3")]


class RotatingWatchedFileHandler(WatchedFileHandler):
    """ほかのワーカーが付け替えたら、開き直して追い付く。"""

    def emit(self, record: logging.LogRecord) -> None:
        """4000 バイトを超えていたら、順に 1 つずつ古い名前へ付け替える。"""
        with contextlib.suppress(FileNotFoundError):
            if FILES[0].stat().st_size > 4000:
                time.sleep(COMPRESS)
                for newer, older in reversed(list(pairwise(FILES))):
                    if newer.exists():
                        newer.replace(older)
        super().emit(record)


handler = RotatingWatchedFileHandler(FILES[0])
handler.setFormatter(logging.Formatter("%(asctime)s pid=%(process)7d order=%(message)s"))
# --8<-- [end:fix]
log = logging.getLogger("orders")
log.setLevel(logging.INFO)
log.addHandler(handler)

app = FastAPI()


@app.post("/orders/{number}")
def add_order(number: int) -> dict[str, int]:
    log.info("%06d", number)
    return {"order": number, "worker": os.getpid()}


@app.get("/logs")
def read_logs() -> dict[str, int]:
    text = "".join(path.read_text() for path in FOLDER.glob("app.log*"))
    orders = re.findall(r"order=\d{6}$", text, re.MULTILINE)
    named = re.findall(r"pid= *\d+ order=\d{6}$", text, re.MULTILINE)
    return {"orders": len(orders), "named": len(named), "worker": os.getpid()}
