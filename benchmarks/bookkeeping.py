"""What a diagnosis costs beside the models: microseconds an answer, and memory.

    python -m benchmarks.bookkeeping                  # 10⁴ and 10⁵ answers of each of two models
    python -m benchmarks.bookkeeping --million        # and 10⁶ of each, in a few minutes
    python -m benchmarks.bookkeeping --profile 20000  # where the time goes, at so many answers

Both models answer from memory, a text that a hash of the prompt picks. Measured is all of
``diagnose``: conjugating, asking, inverting, scoring, storing, pairing, judging, and writing the
report. Every size runs in a process of its own, so that its memory is its own. The exponent is the
slope of the logarithm of time over that of the answers; 1 is linear. Processor time is shown beside
wall time: on a machine with other work only the former means something.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import math
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

from palimpsest.judging import diagnose
from palimpsest.lm import Prompt
from palimpsest.lm.models import ScriptedModel
from palimpsest.lm.suites import Example, Suite

VIAS = ("leet", "pig-latin", "rot13", "reverse-words")
"""With the plain prompts, five ways of asking."""

N_CELLS = 8

GOAL_MICROSECONDS, GOAL_EXPONENT, GOAL_BYTES = 100.0, 1.05, 2e9

_NOUNS = ("apples", "boats", "clocks", "drums", "eggs", "flutes", "gloves", "hats")


def suite_of(n_examples: int) -> Suite:
    """Return made-up sums, each with the answer that another ability would give."""
    examples = tuple(
        Example(
            source_id=f"sum-{at:07}",
            cell=f"sums/{_NOUNS[at % N_CELLS]}",
            language="en",
            prompt=(
                f"Instruction: say how many {_NOUNS[at % N_CELLS]} there are.\n"
                f"Input: Anna has {at} of them, and Ben gives her {at % 97} more.\nOutput:"
            ),
            answers={"sums": (str(at + at % 97),), "repeat": ("Anna has",)},
        )
        for at in range(n_examples)
    )
    return Suite("sums", examples)


def answerer(name: str, share_right: float) -> ScriptedModel:
    """Return a model that is right in a share of the prompts, and repeats or errs in the others."""

    def answer(prompt: Prompt) -> str:
        drawn = zlib.crc32(f"{name} {prompt}".encode()) / 2**32
        words = str(prompt).split()
        numbers = [int(word) for word in words if word.isdecimal()]
        if drawn < share_right and len(numbers) == 2:
            return f" {sum(numbers)}\n"
        return " Anna has\n" if drawn < (1 + share_right) / 2 else " nobody knows it\n"

    return ScriptedModel(answer, name=name)


def run(n_answers: int, out: Path) -> dict[str, float]:
    """Diagnose a made-up pair with so many answers of each model; return seconds and bytes."""
    suite = suite_of(n_answers // (1 + len(VIAS)))
    before = _peak_bytes()
    started, cpu_started = time.perf_counter(), time.process_time()
    results = diagnose(
        answerer("base", 0.9), answerer("tuned", 0.5), suite=suite, via=VIAS, out=out
    )
    seconds = time.perf_counter() - started
    assert results.plain.base.n == len(suite.examples)
    n_rows = 2 * len(suite.examples) * (1 + len(VIAS))
    return {
        "n_rows": n_rows,
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu_started,
        "bytes": _peak_bytes(),
        "bytes_of_suite": before,
        "bytes_of_answers": (out / "answers.sqlite").stat().st_size,
        "bytes_of_page": (out / "report.html").stat().st_size,
    }


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measured(n_answers: int) -> dict[str, float]:
    """Run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bookkeeping", "--one", str(n_answers)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def profile(n_answers: int) -> None:
    """Print the functions that take most of the processor's time."""
    profiler = cProfile.Profile(time.process_time)
    with tempfile.TemporaryDirectory() as folder:
        profiler.runcall(run, n_answers, Path(folder) / "run")
    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


def main() -> int:
    """Print a line for each size, and return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--million", action="store_true", help="10⁶ answers of each model as well")
    parser.add_argument("--profile", type=int, metavar="N", help="where the time goes")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.profile:
        profile(options.profile)
        return 0
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run(options.one, Path(folder) / "run")))
        return 0
    load = os.getloadavg()[0]
    print(f"load {load:.1f} before the start; two models, {1 + len(VIAS)} ways of asking")
    sizes = [10_000, 100_000, *([1_000_000] if options.million else [])]
    heads = ("answers", "s", "cpu s", "µs each", "MB", "MB suite", "MB file", "MB page")
    print("".join(f"{head:>10}" for head in heads))
    found = []
    for n in sizes:
        one = measured(n)
        found.append(one)
        each = 1e6 * one["seconds"] / one["n_rows"]
        sizes_in_mb = "".join(
            f"{one[name] / 1e6:10.1f}"
            for name in ("bytes", "bytes_of_suite", "bytes_of_answers", "bytes_of_page")
        )
        print(
            f"{one['n_rows']:10,.0f}{one['seconds']:10.1f}{one['cpu_seconds']:10.1f}{each:10.1f}"
            f"{sizes_in_mb}",
            flush=True,
        )
    first, last = found[-2:]
    growth = math.log(last["n_rows"] / first["n_rows"])
    exponent = math.log(last["seconds"] / first["seconds"]) / growth
    print(
        f"exponent {exponent:.3f} (goal {GOAL_EXPONENT}); {each:.0f} µs (goal "
        f"{GOAL_MICROSECONDS:.0f}); {last['bytes'] / 1e9:.2f} GB (goal {GOAL_BYTES / 1e9:.0f})"
    )
    missed = exponent > GOAL_EXPONENT or each > GOAL_MICROSECONDS or last["bytes"] > GOAL_BYTES
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
