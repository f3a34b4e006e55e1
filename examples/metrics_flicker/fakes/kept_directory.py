"""マルチプロセスモードを使い、いつも同じディレクトリーに書きます。

誘惑: 場所を 1 つ決めて環境変数に書けば、全ワーカーの数が合います。
破綻: 前の起動のファイルが残り、終わったはずの値が、いまの値に足されます。
"""

import asyncio
import os

from fastapi import FastAPI, Response

# --8<-- [start:fix]
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.environ["DATA_DIR"]  # 起動し直しても同じ場所
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
