"""Twenty kills of each kind on a Ray cluster of several machines: actors, drivers, raylets."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.killing import N_KILLS, gone, rows_in, start, wait_for_answers, whole, workers_of
from tests.ray_clusters import LocalCluster, local_cluster

pytest.importorskip("ray", reason="needs the package ray")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of several kinds
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with local_cluster({"num_cpus": 1}, {"num_cpus": 1}, {"num_cpus": 1}) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return whole(tmp_path_factory.mktemp("whole"))


def killed_until_done(
    folder: Path, cluster: LocalCluster, kill: Callable[[int], bool], n_left: int
) -> int:
    """Run the program to its end, kill something of its workers meanwhile; return how often."""
    n_killed = 0
    known: set[int] = set()
    with start(folder, "ray", cluster.address) as process:
        while process.poll() is None:
            time.sleep(0.1)
            for pid in list(workers_of(folder) - known)[:1]:
                if n_killed < n_left and kill(pid):
                    known.add(pid)
                    n_killed += 1
    assert process.returncode == 0
    return n_killed


def test_twenty_killed_actors_cost_no_row(
    tmp_path: Path, cluster: LocalCluster, expected: list[Any]
) -> None:
    def kill(pid: int) -> bool:
        os.kill(pid, signal.SIGKILL)
        return True

    n_killed, number = 0, 0
    while n_killed < N_KILLS:
        number += 1
        folder = tmp_path / f"{number}"
        n_killed += killed_until_done(folder, cluster, kill, N_KILLS)
        assert rows_in(folder) == expected


def test_twenty_killed_machines_cost_no_row(
    tmp_path: Path, cluster: LocalCluster, expected: list[Any]
) -> None:
    def kill(pid: int) -> bool:
        if not cluster.kill_machine_of(pid):
            return False
        cluster.add(num_cpus=1)
        return True

    n_killed, number = 0, 0
    while n_killed < N_KILLS:
        number += 1
        folder = tmp_path / f"{number}"
        n_killed += killed_until_done(folder, cluster, kill, N_KILLS - n_killed)
        assert rows_in(folder) == expected


def test_a_driver_that_is_killed_twenty_times_ends_with_the_rows_of_one(
    tmp_path: Path, cluster: LocalCluster, expected: list[Any]
) -> None:
    rng = random.Random(7)
    seen: set[int] = set()
    for _ in range(N_KILLS):
        with start(tmp_path, "ray", cluster.address) as process:
            wait_for_answers(tmp_path, process, seen)
            time.sleep(rng.uniform(0.0, 0.3))
            seen |= workers_of(tmp_path)
            process.send_signal(signal.SIGKILL)
        assert gone(seen, 60), "an actor outlived its driver"
    assert seen
    with start(tmp_path, "ray", cluster.address) as process:
        assert process.wait() == 0
    assert rows_in(tmp_path) == expected


def test_ctrl_c_leaves_no_actor_behind(tmp_path: Path, cluster: LocalCluster) -> None:
    with start(tmp_path, "ray", cluster.address) as process:
        wait_for_answers(tmp_path, process, set())
        seen = workers_of(tmp_path)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    assert seen
    assert gone(seen, 20)
