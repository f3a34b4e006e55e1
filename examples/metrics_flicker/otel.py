"""FastAPI に組み込みの OpenTelemetry で、各ワーカーが自分の数をコレクターへ送ります。

FASTAPI_OTEL_AUTO_CONFIGURE=true と OTEL_EXPORTER_OTLP_ENDPOINT を付けて起動します。
"""

import os

# --8<-- [start:otel]
from fastapi import FastAPI
from opentelemetry import metrics

ORDERS = metrics.get_meter("orders").create_counter("orders")

app = FastAPI()  # リクエストの数と時間は、書かなくても測られる


@app.post("/orders")
async def create_order() -> dict[str, int]:
    ORDERS.add(1)
    return {"worker": os.getpid()}


# --8<-- [end:otel]
