"""マルチプロセスモードを使い、ディレクトリーを lifespan の中で作って設定します。

誘惑: 起動のたびに空のディレクトリーができ、設定がアプリの中で完結します。
破綻: 数え方は prometheus_client を読み込んだときに決まるので、/metrics は空です。
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# --8<-- [start:fix]
import prometheus_client as prometheus
from fastapi import FastAPI, Response
from prometheus_client.multiprocess import MultiProcessCollector

ORDERS = prometheus.Counter("orders_total", "受け付けた注文の数")
IN_PROGRESS = prometheus.Gauge(
    "orders_in_progress", "処理している注文の数", multiprocess_mode="livesum"
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ["RUNTIME_DIRECTORY"]
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/metrics")
def read_metrics() -> Response:
    registry = prometheus.CollectorRegistry()
    MultiProcessCollector(registry)
    return Response(
        prometheus.generate_latest(registry), media_type=prometheus.CONTENT_TYPE_LATEST
    )


# --8<-- [end:fix]
@app.post("/orders")
async def create_order(seconds: float = 0) -> dict[str, int]:
    ORDERS.inc()
    with IN_PROGRESS.track_inprogress():
        await asyncio.sleep(seconds)  # 支払いの確認を待つ時間のつもり
    return {"worker": os.getpid()}
