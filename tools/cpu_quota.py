"""How many cores a container may use: what Python's own counters do not tell.

.venv/bin/python tools/cpu_quota.py
"""

import os
from pathlib import Path


# --8<-- [start:quota]
def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """使ってよいコアの数。上限がなければ None"""
    if (root / "cpu.max").exists():  # cgroup v2
        quota, period = (root / "cpu.max").read_text().split()
    elif (root / "cpu" / "cpu.cfs_quota_us").exists():  # cgroup v1
        quota = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
        period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
    else:
        return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


# --8<-- [end:quota]

if __name__ == "__main__":
    print("os.cpu_count()         ", os.cpu_count())
    if hasattr(os, "process_cpu_count"):
        print("os.process_cpu_count() ", os.process_cpu_count())
    print("cgroup                 ", cpu_quota())
