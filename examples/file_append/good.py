"""測定値を 1 行の JSON としてファイルに追記し、通し番号を返します。

行は 1 回の write で追記し、通し番号はロックの中でディスクまで書きます。
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


# --8<-- [start:append]
@app.post("/readings")
def add_reading(reading: dict[str, Any]) -> dict[str, int]:
    line = json.dumps(reading).encode() + b"\n"
    with READINGS.open("ab", buffering=0) as file, COUNTER.open("r+") as counter:
        if file.write(line) != len(line):  # write(2) は 1 回。ほかの行は割り込めない
            raise OSError("1 行を書き切れませんでした")
        os.fsync(file.fileno())  # OS からディスクへ
        fcntl.flock(counter, fcntl.LOCK_EX)  # ロックは close が外す
        number = int(counter.read() or 0) + 1
        time.sleep(CHECK)
        counter.seek(0)
        counter.write(f"{number:08}")  # いつも 8 桁で上書きする
        counter.flush()  # Python のバッファーから OS へ
        os.fsync(counter.fileno())
    return {"number": number, "worker": os.getpid()}


# --8<-- [end:append]
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
