"""Record the same experiment on the three stacks, for the page on them.

The stacks must run: .venv/bin/python tools/stacks.py
"""

from __future__ import annotations

import asyncio

from workerlab import recording

FOLDER = recording.FOLDER / "stacks"
TOPIC = "in_memory_counter"
BROKEN = ("stg-bad", "prod-bad")
HOLDING = ("dev-bad", "prod-good")


async def record() -> None:
    """Make all transcripts, then write them."""
    shown = {}
    for status, names in enumerate((HOLDING, BROKEN)):
        for name in names:
            stack, variant = name.split("-")
            command = (
                f".venv/bin/workerlab run {TOPIC} --variant {variant} --server stack:{stack}"
            )
            shown[name] = await recording.transcript(command, status=status)
    FOLDER.mkdir(exist_ok=True)
    for name, text in shown.items():
        (FOLDER / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(record())
