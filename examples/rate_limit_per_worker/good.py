"""確認コードを SMS で送ります。何通送ったかは、全ワーカーが共有する Redis で数えます。"""

import os

import redis
from fastapi import Depends, FastAPI, HTTPException, Request
from limits import parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from examples.rate_limit_per_worker import sms

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
TRUSTED_PROXIES = os.environ.get("TRUSTED_PROXIES", "127.0.0.1,::1")
FAIL_OPEN = os.environ.get("WHEN_REDIS_IS_DOWN", "refuse") == "send"
LIMIT = parse("5/10 minutes")

# --8<-- [start:limit]
limiter = FixedWindowRateLimiter(
    RedisStorage(
        f"async+{REDIS_URL}",
        implementation="redispy",
        socket_timeout=2,  # 秒。黙り込んだ Redis を待つ上限
        retry=Retry(NoBackoff(), 1),  # 切れていた接続を、1 回だけ開き直す
    )
)
app = FastAPI()
app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=TRUSTED_PROXIES)


async def limit_codes(request: Request) -> None:
    try:
        allowed = await limiter.hit(LIMIT, "codes", request.client.host)
    except redis.RedisError:
        if FAIL_OPEN:
            return
        raise HTTPException(503, "しばらくしてからお試しください") from None
    if not allowed:
        raise HTTPException(429, "10 分ほど待ってください", {"Retry-After": "600"})


# --8<-- [end:limit]
@app.post("/codes", dependencies=[Depends(limit_codes)])
async def send_code(request: Request) -> dict[str, int]:
    sent = await sms.send(request.client.host)
    return {"sent": sent, "worker": os.getpid()}
