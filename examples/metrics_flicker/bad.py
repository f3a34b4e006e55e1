"""注文の数を数え、/metrics で Prometheus に見せます。

症状: グラフのカウンターが下がっては上がり、注文の数とも合いません。
"""

import asyncio
import os

import prometheus_client as prometheus
from fastapi import FastAPI, Response

# --8<-- [start:metrics]
ORDERS = prometheus.Counter("orders_total", "受け付けた注文の数")
IN_PROGRESS = prometheus.Gauge("orders_in_progress", "処理している注文の数")

app = FastAPI()


@app.get("/metrics")
def read_metrics() -> Response:
    return Response(prometheus.generate_latest(), media_type=prometheus.CONTENT_TYPE_LATEST)


# --8<-- [end:metrics]
@app.post("/orders")
async def create_order(seconds: float = 0) -> dict[str, int]:
    ORDERS.inc()
    with IN_PROGRESS.track_inprogress():
        await asyncio.sleep(seconds)  # 支払いの確認を待つ時間のつもり
    return {"worker": os.getpid()}
