"""直した版と同じ flock を、async def の中で使います。

誘惑: FastAPI では async def が標準だと思い、待つところを await に書き換えます。
破綻: await の間に動いた別のリクエストが flock でループごと止め、ロックを外す番が来ません。
"""

import asyncio
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from fastapi import FastAPI

FOLDER = Path(os.environ.get("DATA_DIR", "."))
READINGS, COUNTER = FOLDER / "readings.jsonl", FOLDER / "readings.count"
READINGS.touch()
COUNTER.touch()
CHECK = 0.005  # 秒。測定値を検査する時間のつもり

app = FastAPI()


# --8<-- [start:fix]
@app.post("/readings")
async def add_reading(reading: dict[str, Any]) -> dict[str, int]:
    line = json.dumps(reading).encode() + b"\n"
    with READINGS.open("ab", buffering=0) as file, COUNTER.open("r+") as counter:
        if file.write(line) != len(line):
            raise OSError("1 行を書き切れませんでした")
        fcntl.flock(counter, fcntl.LOCK_EX)
        number = int(counter.read() or 0) + 1
        await asyncio.sleep(CHECK)  # ロックを持ったまま、ほかのリクエストに譲る
        counter.seek(0)
        counter.write(f"{number:08}")
        counter.flush()
        os.fsync(counter.fileno())
    return {"number": number, "worker": os.getpid()}


# --8<-- [end:fix]
@app.get("/readings")
def read_readings() -> dict[str, int]:
    lines = READINGS.read_text().splitlines()
    intact = sum(is_json(line) for line in lines)
    count = int(COUNTER.read_text() or 0)
    return {"lines": len(lines), "intact": intact, "count": count, "worker": os.getpid()}


def is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
