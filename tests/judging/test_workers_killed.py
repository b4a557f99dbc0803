"""Twenty kills of each kind: the driver, the workers, Ray's own processes.

This file is also the program that gets killed: ``python test_workers_killed.py FOLDER ENGINE``.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.mortal_models import MortalModel

from palimpsest.engines import make_engine
from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.via import parse_via
from palimpsest.judging.workers import Workers
from palimpsest.lm.suites import Example, Suite
from palimpsest.records import AnswerStore

pytestmark = pytest.mark.slow

N_KILLS = 20
N_EXAMPLES = 400


SUITE = Suite(
    name="words",
    examples=tuple(
        Example(str(i), "repeat", "en", f"Say word {i}", {"icl": ("Say",), "other": ("word",)})
        for i in range(N_EXAMPLES)
    ),
)


def run(folder: Path, engine_name: str) -> None:
    """The program: one evaluation on two workers."""
    vias = [parse_via(via, SUITE) for via in ("identity", "leet")]
    engine = make_engine(engine_name, workers=2)
    with Workers(engine) as workers, AnswerStore(folder / "answers.sqlite") as store:
        model = workers.hold(MortalModel(str(folder / "log")))
        sys.stdout.write(f"begun with {len(store)}\n")
        sys.stdout.flush()
        evaluate(model, SUITE, vias, store=store, role="base")


def start(folder: Path, engine: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, str(folder), engine],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def rows_in(folder: Path) -> list[Any]:
    with AnswerStore(folder / "answers.sqlite", read_only=True) as store:
        rows = store.rows(model="mortal", suite=SUITE.key)
    return sorted(row._replace(latency_seconds=0) for row in rows)


def whole(tmp_path: Path) -> list[Any]:
    (tmp_path / "whole" / "log").mkdir(parents=True)
    with start(tmp_path / "whole", "here") as process:
        assert process.wait() == 0
    return rows_in(tmp_path / "whole")


def workers_of(folder: Path) -> set[int]:
    """Return the processes that have answered and still live."""
    return {int(path.name) for path in (folder / "log").iterdir() if is_alive(int(path.name))}


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pids: set[int], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_driver_that_is_killed_twenty_times_ends_with_the_rows_of_one(tmp_path: Path) -> None:
    expected = whole(tmp_path)
    folder = tmp_path / "killed"
    (folder / "log").mkdir(parents=True)
    rng = random.Random(7)
    seen: set[int] = set()
    for _ in range(N_KILLS):
        with start(folder, "processes") as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0.0, 2.0))
            seen |= workers_of(folder)
            process.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]))
        assert gone(seen, 20), "a worker outlived its driver"
    assert seen
    with start(folder, "processes") as process:
        assert process.wait() == 0
    assert rows_in(folder) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_twenty_killed_workers_cost_no_row(tmp_path: Path) -> None:
    expected = whole(tmp_path)
    n_killed, number = 0, 0
    while n_killed < N_KILLS:
        number += 1
        folder = tmp_path / f"killed-{number}"
        (folder / "log").mkdir(parents=True)
        with start(folder, "processes") as process:
            while process.poll() is None:
                time.sleep(0.1)
                for pid in list(workers_of(folder))[:1]:
                    os.kill(pid, signal.SIGKILL)
                    n_killed += 1
        assert process.returncode == 0
        assert rows_in(folder) == expected


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
