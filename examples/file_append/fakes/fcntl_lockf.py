"""fcntl.lockf で囲み、ロックの中で flush します。

誘惑: flock より移植性がある POSIX のロックで、flush も忘れていません。
破綻: このロックの持ち主はプロセスなので、同じワーカーのスレッドどうしは互いを待ちません。
"""

import fcntl
import json
import os
import time
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
def add_reading(reading: dict[str, Any]) -> dict[str, int]:
    with READINGS.open("a") as file, COUNTER.open("r+") as counter:
        fcntl.lockf(counter, fcntl.LOCK_EX)
        json.dump(reading, file)
        file.write("\n")
        file.flush()
        number = int(counter.read() or 0) + 1
        time.sleep(CHECK)
        counter.seek(0)
        counter.write(f"{number:08}")
        counter.flush()
        fcntl.lockf(counter, fcntl.LOCK_UN)
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
