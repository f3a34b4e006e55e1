"""書き込みを threading.Lock で守ります。

誘惑: 同時に書かせなければよいと考え、標準ライブラリのロックで囲みます。
破綻: ロックはプロセスごとに 1 つあり、4 つのワーカーは 4 人で同時に書きます。
"""

import json
import os
import threading
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
lock = threading.Lock()


@app.post("/readings")
def add_reading(reading: dict[str, Any]) -> dict[str, int]:
    with lock, READINGS.open("a") as file, COUNTER.open("r+") as counter:
        json.dump(reading, file)
        file.write("\n")
        number = int(counter.read() or 0) + 1
        time.sleep(CHECK)
        counter.seek(0)
        counter.write(f"{number:08}")
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
