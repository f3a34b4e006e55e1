"""Play every topic again and again: how often bad.py fails and good.py holds, per server.

Each play is what ``workerlab run`` calls: new services, a new server, four new workers. All
are started by this one process, which saves half the time of as many commands. A play without
a result (only one worker answered) is played again, as the command asks its reader to; how
often is said. Prints a Markdown table; ends with 1 if a single play ended otherwise than it
should.
"""

import argparse
import asyncio
import sys

from workerlab import stage
from workerlab.catalog import Topic, topics
from workerlab.errors import WorkerlabError
from workerlab.experiment import Result
from workerlab.servers import SERVERS
from workerlab.services import missing

HOLDS = {"bad": False, "good": True}
AGAIN = 3
"""So many plays without a result are played again, of each variant on each server."""


def conclusive(topic: Topic, variant: str, server: str) -> tuple[Result, int]:
    """A result, and how many plays had none.

    Raises:
        WorkerlabError: Something did not start, or there was no result again and again.
    """
    for lost in range(AGAIN + 1):
        played = stage.play(topic.experiment, topic.app(variant), server=server, workers=4)
        result = asyncio.run(played)
        if result.conclusive:
            return result, lost
    raise WorkerlabError(f"{topic.slug}: {AGAIN + 1} 回続けて、結果がありませんでした。")


def cell(topic: Topic, variant: str, server: str, times: int) -> str:
    """``20/20``: how many of *times* plays ended as they should; the others go to stderr."""
    count = again = 0
    for number in range(1, times + 1):
        try:
            result, lost = conclusive(topic, variant, server)
        except WorkerlabError as error:
            print(topic.slug, variant, server, number, error, file=sys.stderr, flush=True)
            continue
        again += lost
        if result.holds == HOLDS[variant]:
            count += 1
        else:
            shown = [f"{v.invariant.name}={v.observed}" for v in result.verdicts]
            print(topic.slug, variant, server, number, *shown, file=sys.stderr, flush=True)
    return f"{count}/{times}" + (f" (+{again})" if again else "")


def main() -> int:
    """Print the table, one row as soon as it is known."""
    known = {topic.slug: topic for topic in topics()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="all unless named")
    parser.add_argument("--times", type=int, default=20)
    arguments = parser.parse_args()
    if unknown := set(arguments.topics) - set(known):
        parser.error(f"unknown topic: {', '.join(sorted(unknown))}")
    columns = [(variant, server) for server in SERVERS for variant in HOLDS]
    heads = (f"{server} {variant}" for variant, server in columns)
    print(f"| topic | {' | '.join(heads)} |")
    print("| --- |" + " --- |" * len(columns))
    complete = True
    for slug in arguments.topics or known:
        topic = known[slug]
        if lacking := missing(topic.experiment.needs):
            print(f"| {slug} | not run: {', '.join(lacking)} missing |", flush=True)
            continue
        cells = [
            cell(topic, variant, server, arguments.times)
            if topic.experiment.plays_on(server)
            else "—"
            for variant, server in columns
        ]
        wanted = f"{arguments.times}/{arguments.times}"
        complete &= all(text == "—" or text.startswith(wanted) for text in cells)
        print(f"| {slug} | {' | '.join(cells)} |", flush=True)
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
