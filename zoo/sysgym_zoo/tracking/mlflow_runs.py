"""MLflow: a run in the store that MLFLOW_TRACKING_URI names, else in `mlflow.db` beside the run folder, so that runs of
one folder stand side by side in `mlflow ui --backend-store-uri sqlite:///runs/mlflow.db`.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from sysgym.core.errors import MissingDependency, UsageError
from sysgym_zoo.tracking.writers import Told

EXPERIMENT = "sysgym"  # where MLFLOW_EXPERIMENT_NAME names none
STORE = "mlflow.db"
STATUS = {"done": "FINISHED", "interrupted": "KILLED"}  # any other: FAILED
MOST_LETTERS = 500  # of a parameter, which older stores cut off
AT_ONCE = 100  # parameters of one call
WAIT = 5.0  # seconds for a server to answer
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # unless the user says others


class Mlflow:
    """One run of MLflow; a run that goes on keeps its id."""

    def __init__(self, told: Told) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would ask the network
        for key, value in PATIENCE.items():
            os.environ.setdefault(key, value)
        try:
            import sqlalchemy
            from mlflow.entities import Metric, Param
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise MissingDependency("--track mlflow needs mlflow-skinny: pip install 'sysgym[mlflow]'.") from error
        assert sqlalchemy is not None  # of the store
        self._metric = Metric
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
        store = told.folder.resolve().parent / STORE
        given = os.environ.get("MLFLOW_TRACKING_URI")
        answers(given or "")
        with _alone(store.with_suffix(".lock"), given is None):
            self._client: Any = MlflowClient(tracking_uri=given or f"sqlite:///{store}")
            experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT), store)
        self.id = told.earlier
        if self.id:
            self._client.update_run(self.id, status="RUNNING")
            return
        self.id = self._client.create_run(experiment, run_name=told.folder.name).info.run_id
        params = [Param(key, text[:MOST_LETTERS]) for key, text in flat(told.config).items()]
        for start in range(0, len(params), AT_ONCE):
            self._client.log_batch(self.id, params=params[start : start + AT_ONCE])

    def _experiment(self, name: str, store: Path) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        own = None if os.environ.get("MLFLOW_TRACKING_URI") else (store.parent / "mlartifacts").as_uri()
        return str(self._client.create_experiment(name, artifact_location=own))

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """A row in one call."""
        now = int(time.time() * 1000)
        self._client.log_batch(self.id, metrics=[self._metric(*each, now, step) for each in values.items()])

    def finish(self, status: str) -> None:
        """Tell how it ended."""
        self._client.set_terminated(self.id, STATUS.get(status, "FAILED"))


def answers(uri: str) -> None:
    """UsageError if nobody listens where an address of http or https leads; MLflow itself tries for minutes."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise UsageError(f"MLFLOW_TRACKING_URI is no address ({error}); correct it, or unset it.") from error
    if parts.scheme not in ("http", "https") or (getproxies().get(parts.scheme) and not proxy_bypass(host)):
        return  # a proxy may reach what this machine does not
    try:
        socket.create_connection((host, port), WAIT).close()
    except OSError as error:
        raise UsageError(
            f"no MLflow server answers at MLFLOW_TRACKING_URI, {host}:{port} ({error}); start it, correct the address, "
            "or unset it for a file beside the run."
        ) from error


@contextmanager
def _alone(lock: Path, needed: bool) -> Iterator[None]:
    """Only one process at a time makes the tables of a store."""
    if not needed:
        yield
        return
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def flat(config: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Nested plain data as texts under dotted names; lists as JSON.

    >>> flat({"agent": {"name": "gap", "hyper": {"k": 2}}, "seed": 0, "tags": [1]})
    {'agent.name': 'gap', 'agent.hyper.k': '2', 'seed': '0', 'tags': '[1]'}
    """
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = json.dumps(value) if isinstance(value, list | tuple) else str(value)
    return found
