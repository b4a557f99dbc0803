"""Clusters of Ray on this machine: a head without cores, and machines that can be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_HASTY = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 4,
}
"""A machine that is gone is noticed after seconds instead of half a minute."""


class LocalCluster:
    """A Ray cluster whose machines are processes.

    Args:
        cluster: Ray's own of its tests, with a head.
    """

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.address: str = cluster.address

    def add(self, **resources: Any) -> None:
        """Add a machine."""
        self._cluster.add_node(include_dashboard=False, **resources)

    def kill_machine_of(self, pid: int) -> bool:
        """Kill the raylet under which a worker runs, and return whether there was one."""
        raylet = _parent(pid)
        if raylet is None or "raylet" not in Path(f"/proc/{raylet}/cmdline").read_text():
            return False
        os.kill(raylet, signal.SIGKILL)
        return True


@contextmanager
def local_cluster(*machines: dict[str, Any]) -> Iterator[LocalCluster]:
    """Give a cluster with these machines besides its head."""
    # Before Ray is imported: on a busy machine its half a minute is too little.
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": _HASTY}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)  # type: ignore[no-untyped-call]
    try:
        made = LocalCluster(cluster)
        for machine in machines:
            made.add(**machine)
        yield made
    finally:
        cluster.shutdown()


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
