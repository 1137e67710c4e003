"""TensorBoard: event files in `tensorboard/` of the run folder. Every training has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sysgym_zoo.tracking.writers import Told


class TensorBoard:
    """Event files; where a run goes on, what came after its checkpoint is hidden."""

    id = ""

    def __init__(self, told: Told) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge = told.steps + 1 if told.steps else None
        self._events: Any = SummaryWriter(str(told.folder / "tensorboard"), purge_step=purge)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Each number under its name."""
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def finish(self, status: str) -> None:
        """Write what is left."""
        self._events.close()
