"""bad.py と同じことを、slowapi の説明どおりに書いたものです。"""

import os

from fastapi import FastAPI, Request
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address

from examples.rate_limit_per_worker import sms

# --8<-- [start:limit]
limiter = Limiter(key_func=get_remote_address)  # storage_uri を渡さなければ、メモリで数える
app = FastAPI()
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)


@app.post("/codes")
@limiter.limit("5/10 minutes")
async def send_code(request: Request) -> dict[str, int]:
    sent = await sms.send(request.client.host)
    return {"sent": sent, "worker": os.getpid()}


# --8<-- [end:limit]
