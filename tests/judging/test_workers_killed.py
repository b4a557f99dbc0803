"""Twenty kills of each kind: the driver, and the workers."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.killing import N_KILLS, gone, rows_in, start, wait_for_answers, whole, workers_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
]


def test_a_driver_that_is_killed_twenty_times_ends_with_the_rows_of_one(tmp_path: Path) -> None:
    expected = whole(tmp_path / "whole")
    folder = tmp_path / "killed"
    rng = random.Random(7)
    seen: set[int] = set()
    for _ in range(N_KILLS):
        with start(folder, "processes") as process:
            wait_for_answers(folder, process, seen)
            time.sleep(rng.uniform(0.0, 0.3))
            seen |= workers_of(folder)
            process.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]))
        assert gone(seen, 20), "a worker outlived its driver"
    assert seen
    with start(folder, "processes") as process:
        assert process.wait() == 0
    assert rows_in(folder) == expected


def test_twenty_killed_workers_cost_no_row(tmp_path: Path) -> None:
    expected = whole(tmp_path / "whole")
    n_killed, number = 0, 0
    while n_killed < N_KILLS:
        number += 1
        folder = tmp_path / f"killed-{number}"
        with start(folder, "processes") as process:
            while process.poll() is None:
                time.sleep(0.1)
                for pid in list(workers_of(folder))[:1]:
                    os.kill(pid, signal.SIGKILL)
                    n_killed += 1
        assert process.returncode == 0
        assert rows_in(folder) == expected
