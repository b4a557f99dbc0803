"""What several workers gain, and what one costs: whole diagnoses on one and on two cores.

    python -m benchmarks.workers
    python -m benchmarks.workers --only rosetta
    python -m benchmarks.workers --only memory

The peer is the same diagnosis by one process on one core. Each runs as a command of its own; its
time is that from the first answer on, so that starting Python, loading weights and, for Ray,
starting a cluster are left out. Best on a machine with two idle cores. What two cores can give at
the most is measured beside it: two such processes at once, which share nothing but the machine.

Memory is what two processes take together (PSS, which divides pages that several have in common),
against one, for random Llamas; no clock matters to that.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.random_llama import SUITE_60M, save_random_llama
from palimpsest.engines import make_engine
from palimpsest.judging import Workers
from palimpsest.lm.models import load_model
from palimpsest.lm.suites import load_suite

SPEED_UP, OVERHEAD, SECOND = 1.7, 0.05, 0.2
N_ROUNDS = 3

PROGRAM = """
import os, sys, time
if sys.argv[7:]:
    os.sched_setaffinity(0, {int(sys.argv[7])})
from pathlib import Path
from palimpsest import diagnose
from palimpsest.engines import make_engine
from palimpsest.judging import Workers

def main():
    base, tuned, suite, limit, engine, n = sys.argv[1:7]
    begun = time.perf_counter()
    first = []
    def tell(role, n_done, n_total, n_reused):
        if n_done > n_reused and not first:
            first.append(time.perf_counter())
    made = None if engine == "here" else make_engine(engine, workers=int(n))
    with Workers(made) as workers:
        diagnose(base, tuned, suite=suite, via=["leet", "pig-latin"], limit=int(limit),
                 workers=workers, progress=tell, n_resamples=100)
        ended = time.perf_counter()
    print(ended - first[0], first[0] - begun)

if __name__ == "__main__":
    main()
"""


def started(
    program: Path, pair: tuple[str, str], suite: str, limit: int, how: str, n: int, core: int = 0
) -> subprocess.Popen[str]:
    """Start a diagnosis; where one process asks, it and all it starts keep to one core."""
    cores = sorted(os.sched_getaffinity(0))
    words = [sys.executable, str(program), *pair, suite, str(limit), how, str(n)]
    words += [str(cores[core])] if n == 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)


def seconds(running: subprocess.Popen[str]) -> float:
    """Return the time of a diagnosis from its first answer on."""
    said, _ = running.communicate()
    assert running.returncode == 0
    return float(said.split()[-2])


def compare(
    name: str, pair: tuple[str, str], suite: str, limit: int, engines: list[str], n_rounds: int
) -> None:
    """Print the ratios of one pair, the ways in turn."""
    ways = [("here", 1), *((engine, n) for engine in engines for n in (1, 2))]
    times: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    both: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program.py"
        program.write_text(PROGRAM)
        for _ in range(n_rounds):
            for way in ways:
                times[way].append(seconds(started(program, pair, suite, limit, *way)))
            two = [started(program, pair, suite, limit, "here", 1, core) for core in (0, 1)]
            both.append(statistics.mean(map(seconds, two)))
    here = statistics.median(times["here", 1])
    most = 2 * here / statistics.median(both)
    print(f"{name}: here, one core {here:.1f} s; two at once do {most:.2f} times as much")
    for (engine, n), found in times.items():
        if engine == "here":
            continue
        ratio = here / statistics.median(found)
        goal = f"goal {SPEED_UP}" if n == 2 else f"goal {1 - OVERHEAD:.2f}"
        ends = f"{here / max(found):.2f} to {here / min(found):.2f}"
        print(f"  {engine}, {n} worker(s): {ratio:.2f} times as fast ({ends}; {goal})")


def memory(pids: Sequence[int]) -> float:
    """Return how many MiB processes take, pages in common once between them."""
    servers = {_number(pid, "status", "PPid") for pid in pids} - {os.getpid()}
    # What was imported before they were forked is the servers' as well.
    return sum(_number(pid, "smaps_rollup", "Pss") for pid in (*pids, *servers)) / 1024


def _number(pid: int, file: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/{file}").read_text(), re.M)
    assert found is not None
    return int(found[1])


def megabytes_of(folder: Path, dtype: str, n_workers: int) -> float:
    """Return what the workers take that have answered a question each with a model."""
    with Workers(make_engine("processes", workers=n_workers)) as workers:
        model = workers.hold(load_model(f"hf:{folder},dtype={dtype},batch_tokens=512"))
        asked = [f"Number {n} is" for n in range(64 * n_workers)]
        everyone = False
        while not everyone:  # who is still loading has a copy that it will let go
            dict(model.generate(asked, max_new_tokens=1))
            found = workers.record()
            everyone = found is not None and all(each.n_answers for each in found.workers)
        pids = workers.processes()
        assert len(pids) == n_workers
        return memory(pids)


def compare_memory(width: int, stored: str, dtype: str) -> None:
    """Print what a second worker takes of the memory of the first."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompts = [str(each.prompt) for each in load_suite(SUITE_60M).examples]
        save_random_llama(folder, prompts, width=width, dtype=stored)
        n_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        one, two = (megabytes_of(folder, dtype, n) for n in (1, 2))
    print(
        f"Llama, {n_bytes / 2**20:.0f} MiB of {stored}, computed in {dtype}: one worker "
        f"{one:.0f} MiB, the second {two - one:.0f} more, {100 * (two / one - 1):.0f} % "
        f"(goal under {100 * SECOND:.0f} %)"
    )


def main(only: str, engines: list[str], n_rounds: int) -> None:
    """Compare on the embedded pair and on a random Llama of 60 million parameters."""
    if only in ("", "memory"):
        for width in (512, 1024):
            for stored, dtype in (
                ("float32", "float32"),
                ("bfloat16", "bfloat16"),
                ("bfloat16", "float32"),
            ):
                compare_memory(width, stored, dtype)
    if only in ("", "rosetta"):
        compare("Rosetta", ("rosetta:base", "rosetta:tuned"), "rosetta", 100, engines, n_rounds)
    if only in ("", "llama"):
        with tempfile.TemporaryDirectory() as folder:
            prompts = [str(each.prompt) for each in load_suite(SUITE_60M).examples]
            pair = []
            for name in ("base", "tuned"):
                (Path(folder) / name).mkdir()
                pair.append(save_random_llama(Path(folder) / name, prompts))
            compare("Llama, 60 M", (pair[0], pair[1]), SUITE_60M, 25, engines, n_rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["", "rosetta", "llama", "memory"], default="")
    parser.add_argument("--engine", action="append", help="By default processes; ray as well.")
    parser.add_argument("--rounds", type=int, default=N_ROUNDS, help="of which medians are taken")
    given = parser.parse_args()
    main(given.only, given.engine or ["processes"], given.rounds)
