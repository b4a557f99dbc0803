"""How long the analysis of a run takes, and how much memory, by the number of its examples.

    python -m benchmarks.analysis               # 1,000 and 20,000 examples, eight ways of asking
    python -m benchmarks.analysis --all         # 1,000, 10,000, 20,000 and 100,000
    python -m benchmarks.analysis --graded      # scores between 0 and 1 in place of right and wrong

The answers are made up and lie in a store, as a diagnosis leaves them. Measured is ``analyse``:
they are read and paired, looked at, and every figure with its interval is computed, with 10,000
resamples. Every size runs in a process of its own. The exponent is the slope of the logarithm of
time over that of the examples, from the second smallest size on if there are more; 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from palimpsest.judging import analyse
from palimpsest.records import AnswerKey, AnswerRow, AnswerStore, Outcome

N_WAYS, N_CELLS, N_RESAMPLES = 8, 8, 10_000
GOAL_N, GOAL_SECONDS, GOAL_BYTES, GOAL_EXPONENT = 20_000, 20.0, 1e9, 1.1
_N_WRITTEN = 20_000


class Way(NamedTuple):
    """A way of asking, as far as the analysis goes by it."""

    name: str
    exact: bool = True
    keeps: str = "everything"
    native: bool | None = False


WAYS = [Way("identity"), *(Way(f"way-{at}") for at in range(1, N_WAYS))]


def made_up(role: str, way: Way, at: int, *, graded: bool) -> AnswerRow:
    """Return the answer of a model to an example, drawn by a hash."""
    drawn = zlib.crc32(f"{role} {way.name} {at}".encode()) / 2**32
    share = {"base": 0.9, "tuned": 0.55 if way.name == "identity" else 0.8}[role]
    outcome: Outcome = "right" if drawn < share else "intruded" if drawn < 0.95 else "broken"
    said = {"right": f"{2 * at}", "intruded": "Anna has", "broken": "nobody knows it"}[outcome]
    score = round(min(1.0, share * 1.1 * (1 - drawn**3)), 4) if graded else None
    return AnswerRow(
        key=AnswerKey(role, "en", f"sum-{at:07}", way.name, "settings"),
        role=role,
        via=way.name,
        cell=f"sums/{at % N_CELLS}",
        language="en",
        prompt=f"Instruction: add the numbers.\nInput: {at} and {at}\nOutput:",
        raw=f" {said}",
        answer=f" {said}",
        right_answers=json.dumps([f"{2 * at}"]),
        intruding_answers='["Anna has"]',
        outcome=("right" if score == 1 else "broken") if graded else outcome,
        finish="stop",
        round_trip=True,
        latency_seconds=0.0,
        fidelity=1.0,
        survival=1.0,
        n_answer_tokens=2,
        score=score,
    )


def write(store: AnswerStore, n_examples: int, *, graded: bool) -> None:
    """Write the answers of both models to all examples, some examples after the others."""

    def rows() -> Iterator[AnswerRow]:
        for at in range(n_examples):
            for role in ("base", "tuned"):
                for way in WAYS:
                    yield made_up(role, way, at, graded=graded)

    waiting: list[AnswerRow] = []
    for row in rows():
        waiting.append(row)
        if len(waiting) >= _N_WRITTEN:
            store.add(waiting)
            waiting = []
    store.add(waiting)
    store.record_run(rows())


def run(n_examples: int, *, graded: bool) -> dict[str, float]:
    """Return how long the analysis of so many examples takes, and the peak of memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.sqlite"
        with AnswerStore(path) as store:
            write(store, n_examples, graded=graded)
            rows = store.run_answers()
            started, cpu_started = time.perf_counter(), time.process_time()
            found = analyse(
                rows, vias=WAYS, cells=[f"sums/{at}" for at in range(N_CELLS)],
                n_resamples=N_RESAMPLES,
            )  # fmt: skip
            seconds = time.perf_counter() - started
    assert found.plain.base.n == n_examples
    return {
        "n": n_examples,
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu_started,
        "bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def measured(n_examples: int, *, graded: bool) -> dict[str, float]:
    """Run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.analysis", "--one", str(n_examples)]
    done = subprocess.run(
        [*command, *(["--graded"] if graded else [])], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Print a line for each size, and return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="more sizes, up to 100,000 examples")
    parser.add_argument("--graded", action="store_true", help="scores between 0 and 1")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(run(options.one, graded=options.graded)))
        return 0
    load = os.getloadavg()[0]
    print(
        f"load {load:.1f} before the start; two models, {N_WAYS} ways of asking, {N_CELLS} cells, "
        f"{N_RESAMPLES:,} resamples"
    )
    print("".join(f"{head:>10}" for head in ("examples", "s", "cpu s", "MB")))
    found: list[dict[str, float]] = []
    for n in [1_000, 10_000, 20_000, 100_000] if options.all else [1_000, 20_000]:
        one = measured(n, graded=options.graded)
        found.append(one)
        print(
            f"{n:10,}{one['seconds']:10.1f}{one['cpu_seconds']:10.1f}{one['bytes'] / 1e6:10.0f}",
            flush=True,
        )
    first, last = found[-3 if options.all else 0], found[-1]
    growth = math.log(last["n"] / first["n"])
    exponent = math.log(last["seconds"] / first["seconds"]) / growth
    goal = next(one for one in found if one["n"] == GOAL_N)
    print(
        f"exponent {exponent:.3f} (goal {GOAL_EXPONENT}); at {GOAL_N:,}: {goal['seconds']:.1f} s "
        f"(goal {GOAL_SECONDS:.0f}), {goal['bytes'] / 1e9:.2f} GB (goal {GOAL_BYTES / 1e9:.0f})"
    )
    in_time = goal["seconds"] <= GOAL_SECONDS and goal["bytes"] <= GOAL_BYTES
    return int(exponent > GOAL_EXPONENT or not in_time)


if __name__ == "__main__":
    sys.exit(main())
