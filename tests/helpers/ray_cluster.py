"""A real Ray cluster of several nodes on this machine; nothing of it is left behind."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_STORE = 80 * 2**20  # bytes of a node's object store, about the least that Ray takes
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}
_HEALTH = {"health_check_initial_delay_ms": 2_000, "health_check_period_ms": 1_000, "health_check_failure_threshold": 5}
_END_S = 30


class RayCluster:
    """Nodes of which some can be killed.

    Args:
        folder: Where Ray keeps its files; a short path, for sockets lie in it.
    """

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - takes a while

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": _STORE, "_system_config": _HEALTH}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.folder = folder

    @property
    def address(self) -> str:
        """Of the cluster."""
        return str(self._cluster.address)

    def add(self, n_cpus: int) -> Any:
        """Start a node with so many CPUs, whatever the machine has."""
        return self._cluster.add_node(num_cpus=n_cpus, object_store_memory=_STORE)

    def kill(self, node: Any) -> None:
        """Kill a node and all that runs on it, without a word."""
        self._cluster.remove_node(node, allow_graceful=False)

    def end(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """A cluster whose head has no CPUs; this process has joined it."""
    import ray  # noqa: PLC0415 - takes a while

    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    os.environ |= {**_ENVIRONMENT, "RAY_TMPDIR": str(folder)}
    try:
        cluster = RayCluster(folder)
        try:
            ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
            yield cluster
        finally:
            ray.shutdown()
            cluster.end()
            left = _left(folder)
    finally:
        signal.signal(signal.SIGTERM, handler)
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)
    assert not left, left


def _left(folder: Path) -> list[str]:
    """Processes of the cluster that do not end."""
    ends = time.monotonic() + _END_S
    while left := _processes(folder):
        if time.monotonic() > ends:
            return left
        time.sleep(0.2)
    return []


def _processes(folder: Path) -> list[str]:
    lines = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if f"{folder}/" in line]
