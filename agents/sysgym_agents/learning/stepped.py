"""What learners share whose training goes step by step and can be gone on with. Imports torch inside functions only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sysgym_agents.core import Budget
from sysgym_agents.learning.learner import StoredLearner

if TYPE_CHECKING:
    from sysgym_agents.learning.snapshot import Snapshot
    from sysgym_agents.learning.stepwise import Progress


class SteppedLearner(StoredLearner):
    """Base of learners whose `fit` is a training of `learning.stepwise`. It keeps the last one in `_progress`, and
    takes from `_resume` what it is to go on from.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._progress: Progress | None = None
        self._resume: Snapshot | None = None

    def save_training(self, path: Path) -> bool:
        """Write the state of the last `fit` into a folder; may be called from its callback. False if there was none."""
        if self._progress is not None:
            self._progress.snapshot().save(path)
        return self._progress is not None

    def load_training(self, path: Path, budget: Budget) -> bool:
        """Let the next `fit`, on the same instances with this budget, go on exactly where `save_training` was called.

        False if the budget is not what was left: its learning rates follow another schedule, from the loaded weights.
        """
        from sysgym_agents.learning.stepwise import goes_on

        self._resume = goes_on(path, budget, self.name)
        return self._resume is not None
