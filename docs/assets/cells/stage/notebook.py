"""`workerlab.notebook` in the page: workers are interpreters in the reader's browser."""

import importlib

import lab_cells

from workerlab.errors import TrafficError
from workerlab.experiment import judge
from workerlab.results import Closed, Run, answers

__all__ = ["Closed", "Lab", "Run", "answers"]


class Lab:
    """As on the reader's machine, for experiments that a browser can play."""

    def __init__(self, *, workers=None, server="uvicorn"):
        self.workers = workers or lab_cells.workers
        self.server = server

    async def run(self, topic, app="bad", *, workers=None, drill=""):
        """Start workers, play the topic's experiment, stop the workers, and judge."""
        workers = workers or self.workers
        failure = await lab_cells.ask(topic, app, workers, drill)
        if failure:
            raise TrafficError(failure)
        module = importlib.import_module(f"examples.{topic}.experiment")
        drills = {each.drill: each for each in getattr(module, "DRILLS", ())}
        experiment = drills[drill] if drill else module.EXPERIMENT
        result = judge(experiment, lab_cells.trace())
        return Run(result=result, app=app, server=self.server, workers=workers)

    async def close(self):
        """Nothing is left: the workers of a run end with it."""
        return Closed(servers=0)
