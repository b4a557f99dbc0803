"""Run every benchmark, each in a process of its own, one after the other."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "decoding",
    "prefixes",
    "translation",
    "faults",
    "serve",
    "estimators",
    "ensembles",
    "training",
    "time_to_quality",
    "convergence",
    "callback",
    "startup",
    "scoring",
    "families",
    "browse",
    "bookkeeping",
    "analysis",
    "rounds",
    "workers",
    "lm_eval_tasks",
)

if __name__ == "__main__":
    codes = [
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
        for name in BENCHMARKS
    ]
    sys.exit(max(codes))
