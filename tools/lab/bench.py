"""`make bench-lab`: what the live lab costs, next to JupyterLite's ``print(1+1)``.

CPU seconds are user + system of all browser processes (from /proc), the figure that compares
on a busy machine. "cold" is an empty browser profile, "warm" the next visit with its cache.
From pressing 実行 to the verdict of in_memory_counter: 1001 requests and the judgement.

    python tools/lab/bench.py [--workers 1 2 4 6] [--rounds 1] [--no-jupyterlite]
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import harness

TICKS = os.sysconf("SC_CLK_TCK")

RUN = """async options => {
  const begin = performance.now();
  const ready = [];
  const lab = new Lab();
  const cluster = new Cluster({ lab, ...options, onEvent: (e) => {
    if (e.type !== "worker" || e.worker.state !== "ready") return;
    ready.push(performance.now() - begin);
  } });
  await cluster.start();
  await cluster.request("GET", "/visits");
  const first = performance.now() - begin;
  const outcome = await cluster.run();
  window.keep = { lab, cluster };
  return { first: ready[0] / 1000, last: first / 1000,
           error: outcome.failure ?? outcome.traceback };
}"""


def processes(root):
    """Process ids of *root*'s descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat[stat.rindex(")") + 2 :].split()[1])
    found, grew = {root}, True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        grew = bool(more)
        found |= more
    return found - {root}


def browser_processes():
    """Process ids of the Chromium that this process drives."""
    for pid in processes(os.getpid()):
        try:
            if "chromium" in Path(f"/proc/{pid}/cmdline").read_text():
                yield pid
        except OSError:
            continue


def cpu_seconds():
    """CPU seconds of the browser so far."""
    total = 0.0
    for pid in browser_processes():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            continue
        fields = stat[stat.rindex(")") + 2 :].split()
        total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def memory():
    """PSS in MB of all renderer processes."""
    total = 0
    for pid in browser_processes():
        try:
            if "--type=renderer" in Path(f"/proc/{pid}/cmdline").read_text():
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += int(text.split("Pss:")[1].split()[0]) / 1024
        except OSError:
            continue
    return total


def settle(deadline=20.0):
    """Wait until the browser has done nothing for three seconds.

    Before a measurement: its own start-up is not the lab's cost. After one: a reader stays
    for a while too, and V8 keeps the optimised code only two seconds after it came to rest.
    """
    end, quiet = time.monotonic() + deadline, 0
    while quiet < 12 and time.monotonic() < end:
        before = cpu_seconds()
        time.sleep(0.25)
        quiet = quiet + 1 if cpu_seconds() - before <= 0.02 else 0


def measured(server, work):
    """Run *work*; returns its result and the row of costs."""
    settle()
    server.bytes_sent()
    cpu, wall = cpu_seconds(), time.monotonic()
    result = work()
    row = {"cpu": cpu_seconds() - cpu, "wall": time.monotonic() - wall}
    row.update(mb=server.bytes_sent() / 1e6, pss=memory())
    return result, row


def lab_rows(workers, variant):
    """One cold and one warm run in a fresh profile."""
    rows = {}
    with harness.lab_browser() as (server, context):
        for kind in ("cold", "warm"):
            page = harness.open_page(server, context)
            options = {"workers": workers, **harness.example(f"in_memory_counter/{variant}")}
            before = memory()
            result, row = measured(server, lambda page=page, o=options: page.evaluate(RUN, o))
            if result["error"]:
                raise SystemExit(f"bench: {result['error']}")
            row.update(pss=row["pss"] - before, first=result["first"], last=result["last"])
            rows[kind] = row
            settle()
            page.evaluate("keep.cluster.stop().then(() => keep.lab.close())")
            page.close()
    return rows


def table(rows):
    """Print one line per measurement."""
    widths = (8, 8, 8, 8, 9, 8)
    heads = ("CPU s", "wall s", "MB", "PSS MB", "first s", "last s")
    print(" " * 34 + "".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True)))
    for name, row in rows:
        cells = [f"{row[key]:.2f}" if key in row else "-" for key in ("cpu", "wall", "mb")]
        cells.append(f"{row['pss']:.0f}")
        cells += [f"{row[key]:.2f}" if key in row else "-" for key in ("first", "last")]
        print(f"{name:34}" + "".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True)))


def median_rows(samples):
    """Median of every figure over the rounds."""
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


def bench_lab(counts, variants, rounds):
    """Measure every combination; yields (name, row)."""
    for variant in variants:
        for workers in counts:
            samples = [lab_rows(workers, variant) for _ in range(rounds)]
            for kind in ("cold", "warm"):
                name = f"{variant}, {workers} workers + Redis, {kind}"
                yield name, median_rows([sample[kind] for sample in samples])


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 6])
    parser.add_argument("--variants", nargs="+", default=["bad", "good"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--no-jupyterlite", action="store_true")
    arguments = parser.parse_args()
    rows = list(bench_lab(arguments.workers, arguments.variants, arguments.rounds))
    if not arguments.no_jupyterlite:
        from bench_jupyterlite import jupyterlite_rows

        rows += jupyterlite_rows(measured, settle)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    table(rows)
    named = dict(rows)
    for kind in ("cold", "warm"):
        lab = named.get(f"bad, 4 workers + Redis, {kind}")
        peer = named.get(f"JupyterLite print(1+1), {kind}")
        if lab and peer:
            share = lab["cpu"] / peer["cpu"]
            print(f"{kind}: four FastAPI workers cost {share:.2f} of JupyterLite's 1+1")


if __name__ == "__main__":
    main()
