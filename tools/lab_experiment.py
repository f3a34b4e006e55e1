"""The topic's experiment as the lab plays it: the reader kills workers, so requests get lost.

Lies beside ``experiment.py`` in the lab's interpreter (see ``lab_topics.py``).
"""

from dataclasses import replace

from . import experiment as _recorded

EXPERIMENT = replace(_recorded.EXPERIMENT, may_lose_requests=True)
DRILLS = tuple(
    replace(drill, may_lose_requests=True) for drill in getattr(_recorded, "DRILLS", ())
)
