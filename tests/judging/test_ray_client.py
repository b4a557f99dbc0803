"""Workers on a cluster that is reached through Ray's client (``ray://``): the law holds there."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.killing import gone, rows_in, start, whole, workers_of
from tests.ray_clusters import local_cluster

pytest.importorskip("ray", reason="needs the package ray")
pytest.importorskip("grpc", reason="needs the package grpcio, for Ray's client")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of several kinds
]


def test_rows_are_those_of_one_process_though_a_worker_and_a_driver_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client does not tell the machines where its modules are, as a driver of the cluster does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    folder = tmp_path / "client"
    with local_cluster({"num_cpus": 2}, for_clients=True) as cluster:
        with start(folder, "ray", cluster.client_address) as process:
            while process.poll() is None and not workers_of(folder):
                time.sleep(0.05)
            first = workers_of(folder)
            assert first, "no worker has answered"
            os.kill(min(first), signal.SIGKILL)
            while process.poll() is None and not workers_of(folder) - first:
                time.sleep(0.05)
            process.kill()
        # Ray's server waits for half a minute whether a client comes back.
        assert gone({int(path.name) for path in (folder / "log").iterdir()}, 90)
        with start(folder, "ray", cluster.client_address) as process:
            assert process.wait() == 0
    assert rows_in(folder) == whole(tmp_path / "whole")
