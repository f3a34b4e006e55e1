"""good.py に、死んだワーカーの live ゲージを片づける処理を足します。

終了の合図を受け取る場所がない、uvicorn の --workers のためのものです。
"""

import os
from contextlib import suppress
from pathlib import Path

import psutil
from fastapi import FastAPI, Response

os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ["RUNTIME_DIRECTORY"]
from prometheus_client.multiprocess import mark_process_dead

from examples.metrics_flicker import good

app = FastAPI()


# --8<-- [start:sweep]
@app.get("/metrics")
def read_metrics() -> Response:
    for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("gauge_live*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            with suppress(FileNotFoundError):  # ほかのワーカーが先に消した
                mark_process_dead(pid)
    return good.read_metrics()


# --8<-- [end:sweep]
app.mount("/", good.app)
