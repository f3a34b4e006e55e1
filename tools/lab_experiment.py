"""The topic's experiment as the lab plays it: the reader kills workers, so requests get lost.

Lies beside ``experiment.py`` in the lab's interpreter (see ``lab_topics.py``).
"""

from dataclasses import replace

from .experiment import EXPERIMENT as _RECORDED

EXPERIMENT = replace(_RECORDED, may_lose_requests=True)
