"""A module that only talks about an app."""

import fastapi

application = fastapi.FastAPI()
