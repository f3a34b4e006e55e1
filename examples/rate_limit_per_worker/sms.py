"""SMS の送信サービスの代わりです。送った数を請求書に書きます。"""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

BILL = Path(os.environ.get("DATA_DIR", "."), "sms.db")
SEND_SECONDS = 0.1  # 送信サービスが答えるまでの時間のつもり


async def send(client: str) -> int:
    """コードを送り、この人に送った数の合計を返します。"""
    await asyncio.sleep(SEND_SECONDS)
    return await asyncio.to_thread(write_bill, client)


def write_bill(client: str) -> int:
    with closing(sqlite3.connect(BILL, timeout=10)) as db, db:
        ((sent,),) = db.execute(
            "INSERT INTO bill (client, sent) VALUES (?, 1)"
            " ON CONFLICT (client) DO UPDATE SET sent = sent + 1 RETURNING sent",
            [client],
        ).fetchall()
    return int(sent)


with closing(sqlite3.connect(BILL, timeout=10)) as db, db:
    db.execute("CREATE TABLE IF NOT EXISTS bill (client TEXT PRIMARY KEY, sent INTEGER)")
