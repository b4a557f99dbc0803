"""Clusters of Ray on this machine: a head without cores, and machines that can be killed."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palimpsest.engines.ray_cluster import N_STARTS

os.environ.setdefault("RAY_worker_niceness", "0")  # as the tests' own

_HASTY = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 3000,
    "health_check_failure_threshold": 4,
}
"""A machine that is gone is noticed after seconds instead of half a minute."""


class LocalCluster:
    """A Ray cluster whose machines are processes.

    Args:
        cluster: Ray's own of its tests, with a head.
        client_port: Of its head, for Ray's client.
    """

    def __init__(self, cluster: Any, client_port: int | None = None) -> None:
        self._cluster = cluster
        self.address: str = cluster.address
        self.client_address = f"ray://127.0.0.1:{client_port}"
        """Where its head listens for Ray's client, if it does."""

    def add(self, **resources: Any) -> None:
        """Add a machine; on a busy one, Ray may give up after half a minute."""
        for left in reversed(range(N_STARTS)):
            try:
                self._cluster.add_node(include_dashboard=False, **resources)
            except Exception:
                if not left:
                    raise
            else:
                return

    def kill_machine_of(self, pid: int) -> bool:
        """Kill the raylet under which a worker runs, and return whether there was one.

        It is waited for: Ray takes a process that nobody has waited for as alive.
        """
        raylets = [
            each.process
            for node in self._cluster.worker_nodes
            for each in node.all_processes.get("raylet", [])
        ]
        killed = [raylet for raylet in raylets if raylet.pid == _parent(pid)]
        for raylet in killed:
            raylet.kill()
            raylet.wait()
        return bool(killed)


@contextmanager
def local_cluster(*machines: dict[str, Any], for_clients: bool = False) -> Iterator[LocalCluster]:
    """Give a cluster with these machines besides its head.

    Args:
        machines: What each has, as Ray calls it.
        for_clients: Whether its head listens for Ray's client, at ``client_address``.
    """
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": _HASTY}
    port = _free_port() if for_clients else None
    if port is not None:
        head["ray_client_server_port"] = port
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    try:
        made = LocalCluster(cluster, port)
        for machine in machines:
            made.add(**machine)
        yield made
    finally:
        cluster.shutdown()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
