"""注文の数を数え、/metrics で Prometheus に見せます。

起動のたびに空のディレクトリーを用意し、RUNTIME_DIRECTORY で渡します。
"""

import asyncio
import os

from fastapi import FastAPI, Response

# --8<-- [start:metrics]
# prometheus_client を読み込むより前に設定する
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ["RUNTIME_DIRECTORY"]
import prometheus_client as prometheus
from prometheus_client.multiprocess import MultiProcessCollector

ORDERS = prometheus.Counter("orders_total", "受け付けた注文の数")
IN_PROGRESS = prometheus.Gauge(
    "orders_in_progress", "処理している注文の数", multiprocess_mode="livesum"
)

app = FastAPI()


@app.get("/metrics")
def read_metrics() -> Response:
    registry = prometheus.CollectorRegistry()
    MultiProcessCollector(registry)  # 全ワーカーのファイルを読み、足し合わせる
    return Response(
        prometheus.generate_latest(registry), media_type=prometheus.CONTENT_TYPE_LATEST
    )


# --8<-- [end:metrics]
@app.post("/orders")
async def create_order(seconds: float = 0) -> dict[str, int]:
    ORDERS.inc()
    with IN_PROGRESS.track_inprogress():
        await asyncio.sleep(seconds)  # 支払いの確認を待つ時間のつもり
    return {"worker": os.getpid()}
