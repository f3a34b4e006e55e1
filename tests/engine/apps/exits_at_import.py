"""An app whose process ends without a word: uvicorn's supervisor restarts it for ever."""

import os

os._exit(1)
app = None
