"""The interpreter outside the cluster: it plays the experiment and judges what came out.

``experiment``, ``trace`` and ``timeline`` of the engine run here unmodified, and so does the
topic's ``experiment.py``. The same interpreter is also the host ``redis`` (``lab_redis.py``):
one interpreter less to start.
"""

import asyncio
import importlib
import json
import sys
import time

import lab_files
from lab_outbox import flush, put

PROGRESS_SECONDS = 0.1

_cluster = None
_task = None
_prepared = None


class _Progress:
    """Tells the page about new exchanges, ten times a second at most."""

    def __init__(self, trace):
        self._trace, self._sent, self._next = trace, 0, 0.0

    def __call__(self, _exchange):
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_SECONDS
            self.send()

    def send(self):
        new = self._trace.exchanges[self._sent :]
        self._sent += len(new)
        if new:
            rows = [
                [e.step, e.worker, round(e.start, 5), round(e.end, 5), e.status, e.value]
                for e in new
            ]
            put(["exchanges", rows])


def _load(files, module_name, drill):
    """Import the experiment (or the named drill) anew."""
    lab_files.write(files)
    for name in list(sys.modules):  # an earlier run's
        if name.partition(".")[0] == module_name.partition(".")[0]:
            del sys.modules[name]
    module = importlib.import_module(module_name)
    if drill:
        return next(each for each in module.DRILLS if each.drill == drill)
    return module.EXPERIMENT


def prepare(files, module_name, drill):
    """Import what the next `run` plays; returns its environment (JSON), which has secrets."""
    global _prepared
    experiment = _load(files, module_name, drill)
    _prepared = (module_name, drill), experiment
    return json.dumps(dict(experiment.environment))


async def run(files, module_name, drill):
    """Play the experiment (or the named drill) of *module_name*.

    Returns JSON, see ``RunOutcome`` in protocol.js.
    """
    global _cluster, _task, _prepared
    from browser_cluster import BrowserCluster, Unsupported

    from workerlab import experiment as experiments
    from workerlab.errors import WorkerlabError

    try:
        if _prepared is not None and _prepared[0] == (module_name, drill):
            experiment = _prepared[1]
        else:
            experiment = _load(files, module_name, drill)
        _prepared = None
        _cluster = BrowserCluster()
        progress = _cluster.trace.on_exchange = _Progress(_cluster.trace)
        _task = asyncio.ensure_future(experiments.run(experiment, _cluster))
        result = await _task
        progress.send()
        return json.dumps({"result": result.to_dict()})
    except asyncio.CancelledError:
        return json.dumps({"cancelled": True})
    except WorkerlabError as error:
        return json.dumps({"failure": str(error), "trace": _cluster.trace.to_dict()})
    except Unsupported as error:
        return json.dumps({"unsupported": str(error)})
    except BaseException as error:
        return json.dumps({"traceback": lab_files.readers_traceback(error)})
    finally:
        _task = None
        flush()


def cancel():
    """End the running experiment, if one runs."""
    if _task is not None:
        _task.cancel()


def note(event):
    """Keep an event (JSON: arguments of ``Trace.note``) that the page caused."""
    if _task is not None:
        _cluster.trace.note(**json.loads(event))


def draw(options):
    """Draw the trace so far; *options* are keyword arguments of ``timeline`` as JSON."""
    from workerlab.timeline import timeline

    return timeline(_cluster.trace, **json.loads(options)) if _cluster is not None else ""


def deliver(batch):
    """Hand answers of the cluster (JSON list) to those who wait for them."""
    if _cluster is not None:
        for answer in json.loads(batch):
            _cluster.deliver(*answer)
        _cluster.loop.iterate()  # a browser task of its own would cost more than the answer
