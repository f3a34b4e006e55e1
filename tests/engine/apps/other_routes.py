"""An app that runs well, but has other routes."""

from fastapi import FastAPI

app = FastAPI()
