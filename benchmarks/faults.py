"""A thousand prompts to an endpoint that spoils a third of all requests: what is lost or doubled.

Run with ``python -m benchmarks.faults``; ``--quick`` asks a tenth of the prompts.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.fault_server import FaultServer

from palimpsest.judging import evaluate, parse_via
from palimpsest.lm.models import load_model
from palimpsest.lm.suites import Example, Suite
from palimpsest.records import AnswerRow, AnswerStore, RunFolder

ROOT = Path(__file__).parents[1]
CONCURRENCY = 32
OPTIONS = f"timeout=1,attempts=20,backoff=0.02,concurrency={CONCURRENCY}"
SHARE = 1 / 3
N_KILLS = 5
VIAS = ("identity", "upper")


class Figures(NamedTuple):
    """What came of a run."""

    n_prompts: int
    n_sent: int
    """Requests that reached the server."""
    spoilt: Counter[str]
    """Faults by kind."""
    n_lost: int
    """Prompts without an answer in the records."""
    n_doubled: int
    """Prompts with more than one answer in the records."""
    n_wrong: int
    """Answers in the records that belong to another prompt."""
    n_again: int
    """Good answers that the server had to give twice, after kills for the most part."""
    kept: Sequence[int]
    """Answers in the records after each kill."""
    seconds: float


def measure(folder: Path, *, n_prompts: int = 1000, n_kills: int = 0, seed: int = 0) -> Figures:
    """Ask ``n_prompts``, killing the asking process ``n_kills`` times on the way.

    Each example is asked under two conjugations, so that there are two prompts to each.
    """
    started = time.monotonic()
    with FaultServer(share=SHARE, seed=seed) as server:
        kept = []
        for number in range(n_kills):
            _kill_after(server, folder, n_prompts, n_requests=n_prompts // 8, seed=number)
            kept.append(len(_stored(folder, server.url, n_prompts)))
        ask(folder, server.url, n_prompts)
        rows = _stored(folder, server.url, n_prompts)
    answers = Counter(row.prompt for row in rows)
    return Figures(
        n_prompts=n_prompts,
        n_sent=sum(server.received.values()),
        spoilt=server.faults,
        n_lost=n_prompts - len(answers),
        n_doubled=sum(n > 1 for n in answers.values()),
        n_wrong=sum(row.raw != f" {row.prompt.split()[-1]}" for row in rows),
        n_again=sum(server.answered.values()) - n_prompts,
        kept=kept,
        seconds=time.monotonic() - started,
    )


def ask(folder: Path, url: str, n_prompts: int) -> None:
    """Ask whatever has no answer in the records of ``folder``."""
    suite = _suite(n_prompts)
    vias = [parse_via(spec, suite) for spec in VIAS]
    with AnswerStore(RunFolder.create(folder).answers) as store:
        evaluate(load_model(f"openai:m@{url},{OPTIONS}"), suite, vias, store=store, role="base")


def _suite(n_prompts: int) -> Suite:
    examples = (
        Example(
            source_id=str(n),
            cell="a/b",
            language="en",
            prompt=f"Say word{n}",
            answers={"icl": (f"word{n}",), "instruction": ("x",)},
        )
        for n in range(n_prompts // len(VIAS))
    )
    return Suite(name="faulty", examples=tuple(examples))


def _stored(folder: Path, url: str, n_prompts: int) -> list[AnswerRow]:
    path = folder / "answers.sqlite"
    if not path.exists():
        return []
    model = load_model(f"openai:m@{url}").fingerprint
    with AnswerStore(path, read_only=True) as store:
        return store.rows(model=model, suite=_suite(n_prompts).key)


def _kill_after(
    server: FaultServer, folder: Path, n_prompts: int, *, n_requests: int, seed: int
) -> None:
    command = [sys.executable, "-m", "benchmarks.faults", "--worker", str(folder), server.url]
    command += ["--prompts", str(n_prompts)]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    before = sum(server.received.values())
    while sum(server.received.values()) < before + n_requests and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.Random(seed).random() / 10)
    process.kill()
    process.wait()


def _show(title: str, figures: Figures) -> None:
    spoilt = sum(figures.spoilt.values())
    kinds = ", ".join(f"{kind} {n}" for kind, n in figures.spoilt.most_common())
    print(f"{title} ({figures.seconds:.1f} s)")
    share = spoilt / figures.n_sent
    print(f"  requests {figures.n_sent:,}, spoilt {spoilt:,} ({share:.0%}): {kinds}")
    for number, kept in enumerate(figures.kept, start=1):
        print(f"  answers kept after kill {number}: {kept:,}")
    print(f"  prompts {figures.n_prompts:,}: lost {figures.n_lost}, doubled {figures.n_doubled}")
    print(f"  answers of another prompt {figures.n_wrong}, made twice {figures.n_again}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ask a tenth of the prompts")
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--worker", nargs=2, metavar=("FOLDER", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        ask(Path(options.worker[0]), options.worker[1], options.prompts)
        return
    n_prompts = options.prompts // 10 if options.quick else options.prompts
    for title, n_kills in (("Uninterrupted", 0), (f"Killed {N_KILLS} times (kill -9)", N_KILLS)):
        with tempfile.TemporaryDirectory() as folder:
            _show(title, measure(Path(folder) / "run", n_prompts=n_prompts, n_kills=n_kills))


if __name__ == "__main__":
    main()
