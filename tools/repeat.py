"""Run every topic again and again: how often bad.py fails and good.py holds, per server.

Each run is the command that the pages show, in a process of its own. Prints a Markdown table;
ends with 1 if a single run ended otherwise than it should.
"""

import argparse
import subprocess
import sys

from workerlab.catalog import ROOT, topics
from workerlab.servers import SERVERS
from workerlab.services import missing

WANTED = {"bad": 1, "good": 0}
"""Exit status of ``workerlab run`` by variant: violated, holds."""


def as_wanted(slug: str, variant: str, server: str, times: int) -> int:
    """How many of *times* runs ended as they should; the others are shown on stderr."""
    count = 0
    command = ["run", slug, "--variant", variant, "--server", server, "--workers", "4"]
    for _ in range(times):
        done = subprocess.run(
            [sys.executable, "-m", "workerlab", *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == WANTED[variant]:
            count += 1
        else:
            print(*command, f"-> {done.returncode}", file=sys.stderr)
            print(done.stdout, done.stderr, file=sys.stderr)
    return count


def main() -> int:
    """Print the table, one row as soon as it is known."""
    known = {topic.slug: topic for topic in topics()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="all unless named")
    parser.add_argument("--times", type=int, default=20)
    arguments = parser.parse_args()
    if unknown := set(arguments.topics) - set(known):
        parser.error(f"unknown topic: {', '.join(sorted(unknown))}")
    columns = [(variant, server) for server in SERVERS for variant in WANTED]
    heads = (f"{server} {variant}" for variant, server in columns)
    print(f"| topic | {' | '.join(heads)} |")
    print("| --- |" + " --- |" * len(columns))
    complete = True
    for slug in arguments.topics or known:
        experiment = known[slug].experiment
        if lacking := missing(experiment.needs):
            print(f"| {slug} | not run: {', '.join(lacking)} missing |", flush=True)
            continue
        cells = []
        for variant, server in columns:
            if experiment.plays_on(server):
                count = as_wanted(slug, variant, server, arguments.times)
                complete &= count == arguments.times
                cells.append(f"{count}/{arguments.times}")
            else:
                cells.append("—")
        print(f"| {slug} | {' | '.join(cells)} |", flush=True)
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
