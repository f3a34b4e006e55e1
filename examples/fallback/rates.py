"""為替の相場を答えるサービスです。ワーカーの外で動く、よその会社のサービスのつもりです。

python -m examples.fallback.rates
"""

import asyncio

import uvicorn
from fastapi import FastAPI, HTTPException

from examples.fallback.switch import SOCKET, note_call

YEN = {"USD": 150.0}
HANG_SECONDS = 120  # どの呼び出し側よりも長く黙る
app = FastAPI()


# --8<-- [start:rates]
@app.get("/rates/{currency}")
async def read_rate(currency: str) -> dict[str, float]:
    mode = note_call()
    if mode == "hang":
        await asyncio.sleep(HANG_SECONDS)  # つながるのに、答えない
    if mode == "error":
        raise HTTPException(503)
    if currency not in YEN:
        raise HTTPException(404)
    return {"yen": YEN[currency]}


# --8<-- [end:rates]
if __name__ == "__main__":
    uvicorn.run(app, uds=str(SOCKET))
