"""決済を引き受ける銀行です。ワーカーの外で動く、よその会社のサービスのつもりです。

python -m examples.retry_storm.bank
"""

from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, HTTPException

from examples.retry_storm.ledger import SOCKET, add_charge, note_call, prepare

app = FastAPI()


# --8<-- [start:bank]
@app.post("/charges/{order_id}")
def charge(
    order_id: str, idempotency_key: Annotated[str | None, Header()] = None
) -> dict[str, str]:
    calls, mode = note_call(order_id)
    if mode == "down" or (mode == "blip" and calls == 1):
        raise HTTPException(503)  # 決済していない
    add_charge(order_id, idempotency_key)
    if mode == "answer_lost" and calls == 1:
        raise HTTPException(502)  # 決済は済んだのに、答えが届かない
    return {"charged": order_id}


# --8<-- [end:bank]
if __name__ == "__main__":
    prepare()
    uvicorn.run(app, uds=str(SOCKET))
