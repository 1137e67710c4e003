"""Weights & Biases, offline unless the user's own WANDB_MODE says otherwise: files in `wandb/` beside the run folder,
which `wandb sync` sends where there is a network.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

from sysgym.core.errors import MissingDependency
from sysgym_zoo.tracking.writers import Told

PROJECT = "sysgym"  # where WANDB_PROJECT names none


class Wandb:
    """One run of Weights & Biases; a run that goes on keeps its id, in a folder of its own."""

    def __init__(self, told: Told) -> None:
        mode: Any = os.environ.get("WANDB_MODE", "offline")
        if mode != "online":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # which would need a network
        try:
            import wandb
        except ImportError as error:
            raise MissingDependency("--track wandb needs wandb: pip install 'sysgym[wandb]'.") from error
        self.id = told.earlier or uuid.uuid4().hex[:12]
        quiet = wandb.Settings(console="off", silent=True, disable_git=True)
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), dir=str(told.folder.resolve().parent), mode=mode,
            id=self.id, name=told.folder.name, resume="allow", config=dict(told.config), settings=quiet,
        )  # fmt: skip
        self._run.define_metric("steps")  # of its own axis: a run that goes on begins before its last row
        self._run.define_metric("*", step_metric="steps")

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """A row over `steps`."""
        self._run.log({**values, "steps": step})

    def finish(self, status: str) -> None:
        """Tell how it ended, and end it."""
        self._run.summary["status"] = status
        self._run.finish(exit_code=0 if status == "done" else 1)
