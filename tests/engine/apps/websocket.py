"""An app with one WebSocket that answers, and one that refuses."""

from fastapi import FastAPI, WebSocket

app = FastAPI()


@app.websocket("/echo")
async def echo(websocket: WebSocket) -> None:
    """Say everything once more, and close on request."""
    await websocket.accept()
    async for text in websocket.iter_text():
        if text == "bye":
            await websocket.close(4001)
            return
        await websocket.send_text(text)


@app.websocket("/closed")
async def refuse(websocket: WebSocket) -> None:
    """Let nobody in."""
    await websocket.close()
