"""How long ``palimpsest --help`` takes, against an interpreter that does nothing.

Run it on an otherwise idle machine:

    python -m benchmarks.startup
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

GOAL_SECONDS = 0.3
N_RUNS = 5


def median_seconds(*arguments: str) -> float:
    """Return the median wall time of a process over some runs, after one that warms the caches."""
    seconds = []
    for _ in range(N_RUNS + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    bare = median_seconds("-c", "")
    shown = median_seconds("-m", "palimpsest", "--help")
    print(f"python -c '': {bare:.3f} s; palimpsest --help: {shown:.3f} s, median of {N_RUNS}")
    print(f"ratio {shown / bare:.1f}; goal: at most {GOAL_SECONDS} s")
    sys.exit(shown > GOAL_SECONDS)
