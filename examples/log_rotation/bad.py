"""注文を受け付け、1 件ごとにログを 1 行書きます。

症状: 入るはずの量なのに古い行が消え、どのワーカーが書いた行かも分かりません。
"""

import logging
import os
import re
from logging.handlers import RotatingFileHandler
from pathlib import Path

from fastapi import FastAPI

FOLDER = Path(os.environ.get("DATA_DIR", "."))

# --8<-- [start:logging]
handler = RotatingFileHandler(FOLDER / "app.log", maxBytes=8000, backupCount=1)
handler.setFormatter(logging.Formatter("%(asctime)s order=%(message)s"))
# --8<-- [end:logging]
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
