"""注文を受け付け、1 件ごとにログを 1 行書きます。

ワーカーは標準出力に書くだけです。ファイルの世代交代は、それを読む 1 つの係に任せます。
"""

import logging
import os
import re
import sys
from pathlib import Path

from fastapi import FastAPI

# --8<-- [start:logging]
handler = logging.StreamHandler(sys.stdout)  # 1 行ごとに flush する
handler.setFormatter(logging.Formatter("%(asctime)s pid=%(process)7d order=%(message)s"))
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
    text = Path("/dev/stdout").read_text()  # 実験では、標準出力の先がファイルになっている
    orders = re.findall(r"order=\d{6}$", text, re.MULTILINE)
    named = re.findall(r"pid= *\d+ order=\d{6}$", text, re.MULTILINE)
    return {"orders": len(orders), "named": len(named), "worker": os.getpid()}
