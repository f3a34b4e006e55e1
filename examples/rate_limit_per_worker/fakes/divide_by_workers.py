"""上限の 5 通をワーカーの数で割り、ワーカーごとに数えます。

誘惑: 全ワーカーの合計が上限を超えることは、これでなくなります。
破綻: 5 は 4 で割り切れず、割り切れても、リクエストは均等には届きません。
"""

import os

from fastapi import Depends, FastAPI, HTTPException, Request
from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from examples.rate_limit_per_worker import sms

TRUSTED_PROXIES = os.environ.get("TRUSTED_PROXIES", "127.0.0.1,::1")

# --8<-- [start:fix]
WORKERS = int(os.environ.get("WEB_CONCURRENCY", "1"))
LIMIT = parse(f"{max(1, 5 // WORKERS)}/10 minutes")
limiter = FixedWindowRateLimiter(MemoryStorage())
# --8<-- [end:fix]
app = FastAPI()
app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=TRUSTED_PROXIES)


async def limit_codes(request: Request) -> None:
    if not await limiter.hit(LIMIT, "codes", request.client.host):
        raise HTTPException(429, "10 分ほど待ってください", {"Retry-After": "600"})


@app.post("/codes", dependencies=[Depends(limit_codes)])
async def send_code(request: Request) -> dict[str, int]:
    sent = await sms.send(request.client.host)
    return {"sent": sent, "worker": os.getpid()}
