"""Runs on a Ray cluster: Ray Core, one run a task. Optional: `pip install 'sysgym[ray]'`.

Every node sees the sweep's folder under the same path, and has sysgym installed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sysgym.core.errors import MissingDependency, UsageError
from sysgym.resources import cores as cores_here
from sysgym_zoo.sweeps.backends import DIED, Ended, Task

RETRIES = 2  # of a task whose node or process dies, by Ray itself
WAIT = 5.0  # seconds for a cluster to answer
STORE_BYTES = 128 * 2**20  # of the object store of a cluster that is started here: tasks return a few words
# Without these Ray reports usage over the network, and warns of what a sweep does not use.
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def answers(address: str | None) -> None:
    """OSError if nobody listens at `host:port`, or `ray://host:port`; Ray itself waits for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), WAIT).close()


class OnRay:
    """Tasks of Ray, each with as many CPUs as it has threads. Without an address a cluster is started on this machine,
    and ended with the sweep.
    """

    def __init__(self, address: str | None = None, cores: int | None = None) -> None:
        for key, value in SETTINGS.items():
            os.environ.setdefault(key, value)
        try:
            import ray
        except ImportError as error:
            raise MissingDependency("--backend ray needs Ray; pip install 'sysgym[ray]'.") from error
        self.ray: Any = ray
        if address is not None and cores is not None:
            raise UsageError("a cluster says itself how many cores it has; leave --cores out beside --address.")
        here = {
            "address": "local",  # one of its own, whatever cluster this machine has already
            "num_cpus": cores or cores_here(), "include_dashboard": False, "object_store_memory": STORE_BYTES,
        }  # fmt: skip
        there = here if address is None else {"address": address}
        settings: dict[str, Any] = {**there, "log_to_driver": False, "logging_level": "error"}
        try:
            answers(address)
            ray.init(**settings)
        except (OSError, RuntimeError, ValueError) as error:
            why = (str(error).splitlines() or ["no answer"])[0]
            where = address or "this machine"
            raise UsageError(f"no Ray cluster answers at {where} ({why}); see `ray status`.") from error
        self.running: dict[Any, Task] = {}

    def _cpus(self) -> list[float]:
        return [node["Resources"].get("CPU", 0.0) for node in self.ray.nodes() if node["Alive"]]

    def refuse(self, threads: int) -> None:
        """UsageError if no node has so many CPUs: Ray would let the task wait for ever."""
        most = max(self._cpus(), default=0.0)
        if threads > most:
            raise UsageError(
                f"a run takes {threads} threads, and the largest node of the cluster has {most:g} CPU(s); lower "
                "threads in its table, or add a larger node."
            )

    def room(self, threads: int) -> bool:
        """Whether a node could hold it, and the CPUs of all suffice for it beside what runs."""
        cpus = self._cpus()
        return threads <= max(cpus, default=0.0) and sum(t.threads for t in self.running.values()) + threads <= sum(
            cpus
        )

    def start(self, task: Task) -> None:
        """Hand it to the cluster."""
        remote = self.ray.remote(num_cpus=task.threads, max_retries=RETRIES)(task.function)
        self.running[remote.remote(*task.arguments)] = task

    def ended(self, seconds: float) -> list[Ended]:
        """What ended by now, or within some seconds."""
        if not self.running:
            return []
        ready, _ = self.ray.wait(list(self.running), num_returns=len(self.running), timeout=seconds / 2)
        return [Ended(self.running.pop(item).id, self._outcome(item)) for item in ready]

    def _outcome(self, item: Any) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self.ray.get(item)
        except self.ray.exceptions.RayError as error:
            return {"status": DIED, "error": f"its process or node died ({type(error).__name__})."}
        return found

    def interrupt(self) -> None:
        """A KeyboardInterrupt in each; trainings write a checkpoint."""
        for item in self.running:
            with suppress(Exception):
                self.ray.cancel(item, force=False)

    def close(self) -> None:
        """Leave the cluster, or end the one that was started here."""
        self.ray.shutdown()
