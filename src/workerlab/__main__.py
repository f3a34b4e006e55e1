"""``python -m workerlab``."""

from workerlab.cli import main

main()
