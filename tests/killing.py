"""A program that is killed while its workers answer, and how to tell who of them lives.

``python killing.py FOLDER ENGINE [ADDRESS]`` is one evaluation on two workers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.mortal_models import MortalModel

from palimpsest.engines import make_engine
from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.via import parse_via
from palimpsest.judging.workers import Workers
from palimpsest.lm.suites import Example, Suite
from palimpsest.records import AnswerStore

N_KILLS = 20
N_EXAMPLES = 400

SUITE = Suite(
    name="words",
    examples=tuple(
        Example(str(i), "repeat", "en", f"Say word {i}", {"icl": ("Say",), "other": ("word",)})
        for i in range(N_EXAMPLES)
    ),
)


def run(folder: Path, engine_name: str, address: str | None = None) -> None:
    """The program: one evaluation on two workers."""
    vias = [parse_via(via, SUITE) for via in ("identity", "leet")]
    engine = make_engine(engine_name, workers=2, address=address)
    with Workers(engine) as workers, AnswerStore(folder / "answers.sqlite") as store:
        model = workers.hold(MortalModel(str(folder / "log")))
        sys.stdout.write(f"begun with {len(store)}\n")
        sys.stdout.flush()
        evaluate(model, SUITE, vias, store=store, role="base")


def start(folder: Path, engine: str, *address: str) -> subprocess.Popen[str]:
    """Start the program; it may be killed any time, and started again."""
    (folder / "log").mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, __file__, str(folder), engine, *address],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def rows_in(folder: Path) -> list[Any]:
    """Return what was answered, without how long it took."""
    with AnswerStore(folder / "answers.sqlite", read_only=True) as store:
        rows = store.rows(model="mortal", suite=SUITE.key)
    return sorted(row._replace(latency_seconds=0) for row in rows)


def whole(folder: Path) -> list[Any]:
    """Return the rows of one process that nobody kills."""
    with start(folder, "here") as process:
        assert process.wait() == 0
    return rows_in(folder)


def workers_of(folder: Path) -> set[int]:
    """Return the processes that have answered and still live."""
    return {int(path.name) for path in (folder / "log").iterdir() if is_alive(int(path.name))}


def is_alive(pid: int) -> bool:
    """Return whether a process does anything still."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for_answers(folder: Path, process: subprocess.Popen[str], old: set[int]) -> None:
    """Wait until somebody new answers, or the program has ended."""
    while process.poll() is None and not workers_of(folder) - old:
        time.sleep(0.02)


def gone(pids: set[int], seconds: float) -> bool:
    """Wait for processes to end, and return whether they did."""
    until = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


if __name__ == "__main__":
    run(Path(sys.argv[1]), *sys.argv[2:])
