"""Redis で数え、X-Forwarded-For はどこから来たものでも信じます。

誘惑: コンテナのプロキシはアドレスが決まらず、`*` と書けばどこでも動きます。
破綻: いちばん左のアドレスが選ばれ、そこには、クライアントが好きな文字を書けます。
"""

import os

from fastapi import Depends, FastAPI, HTTPException, Request
from limits import parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from examples.rate_limit_per_worker import sms

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
LIMIT = parse("5/10 minutes")

limiter = FixedWindowRateLimiter(
    RedisStorage(f"async+{REDIS_URL}", implementation="redispy", socket_timeout=2)
)
# --8<-- [start:fix]
app = FastAPI()
app.add_middleware(ProxyHeadersMiddleware, trusted_hosts="*")


# --8<-- [end:fix]
async def limit_codes(request: Request) -> None:
    if not await limiter.hit(LIMIT, "codes", request.client.host):
        raise HTTPException(429, "10 分ほど待ってください", {"Retry-After": "600"})


@app.post("/codes", dependencies=[Depends(limit_codes)])
async def send_code(request: Request) -> dict[str, int]:
    sent = await sms.send(request.client.host)
    return {"sent": sent, "worker": os.getpid()}
