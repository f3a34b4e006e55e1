"""送る前に残りを確かめ、送り終えてから Redis で数えます。

誘惑: 送信に失敗した分は数えないので、利用者の 5 通が無駄になりません。
破綻: 確かめてから数えるまでに同時に来た人は、全員が「まだ残っている」と判断します。
"""

import os

from fastapi import Depends, FastAPI, HTTPException, Request
from limits import parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from examples.rate_limit_per_worker import sms

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
TRUSTED_PROXIES = os.environ.get("TRUSTED_PROXIES", "127.0.0.1,::1")
LIMIT = parse("5/10 minutes")

limiter = FixedWindowRateLimiter(
    RedisStorage(f"async+{REDIS_URL}", implementation="redispy", socket_timeout=2)
)
app = FastAPI()
app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=TRUSTED_PROXIES)


# --8<-- [start:fix]
async def limit_codes(request: Request) -> None:
    if not await limiter.test(LIMIT, "codes", request.client.host):
        raise HTTPException(429, "10 分ほど待ってください", {"Retry-After": "600"})


@app.post("/codes", dependencies=[Depends(limit_codes)])
async def send_code(request: Request) -> dict[str, int]:
    sent = await sms.send(request.client.host)
    await limiter.hit(LIMIT, "codes", request.client.host)  # 送れたものだけを数える
    return {"sent": sent, "worker": os.getpid()}


# --8<-- [end:fix]
