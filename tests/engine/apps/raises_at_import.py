"""An app whose module raises while it is imported."""

from fastapi import FastAPI

app = FastAPI()
raise RuntimeError("設定ファイルがありません")
