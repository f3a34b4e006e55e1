"""QueueHandler に渡し、1 つの QueueListener がファイルに書きます。

誘惑: Python の手引きにある方法で、ファイルに書く係は確かに 1 つだけに見えます。
破綻: queue.Queue はプロセスの中のもので、ファイルに書く係もワーカーごとに 1 つあります。
"""

import logging
import os
import queue
import re
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path

from fastapi import FastAPI

FOLDER = Path(os.environ.get("DATA_DIR", "."))

# --8<-- [start:fix]
writer = RotatingFileHandler(FOLDER / "app.log", maxBytes=8000, backupCount=1)
writer.setFormatter(logging.Formatter("%(asctime)s pid=%(process)7d order=%(message)s"))
records: queue.Queue[logging.LogRecord] = queue.Queue()
handler = QueueHandler(records)
QueueListener(records, writer).start()
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
