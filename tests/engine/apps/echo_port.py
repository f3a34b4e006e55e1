"""Says from which port the client came."""

from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/port")
async def port(request: Request) -> dict[str, int]:
    assert request.client is not None
    return {"port": request.client.port}
