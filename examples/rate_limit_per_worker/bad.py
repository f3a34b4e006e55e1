"""確認コードを SMS で送ります。同じ人には、10 分に 5 通までにします。

症状: 5 通で止めたはずなのに、同じ人に 20 通まで送られ、SMS の料金が 4 倍になります。
"""

import os

from fastapi import Depends, FastAPI, HTTPException, Request
from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from examples.rate_limit_per_worker import sms

LIMIT = parse("5/10 minutes")

# --8<-- [start:limit]
limiter = FixedWindowRateLimiter(MemoryStorage())
app = FastAPI()


async def limit_codes(request: Request) -> None:
    if not await limiter.hit(LIMIT, "codes", request.client.host):
        raise HTTPException(429, "10 分ほど待ってください", {"Retry-After": "600"})


# --8<-- [end:limit]
@app.post("/codes", dependencies=[Depends(limit_codes)])
async def send_code(request: Request) -> dict[str, int]:
    sent = await sms.send(request.client.host)
    return {"sent": sent, "worker": os.getpid()}
