"""Experiments that show how a FastAPI app fails, and holds, with several worker processes.

``experiment``, ``trace``, ``timeline`` and ``cluster`` need only the standard library and
run unmodified in Pyodide; the other modules start and stop real processes.
"""

__version__ = "0.1.0"
