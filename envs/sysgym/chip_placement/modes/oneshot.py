"""A cell for every macro at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from sysgym.chip_placement.instance import Chip
from sysgym.chip_placement.judge import check_clustered
from sysgym.chip_placement.modes import sequence_kernels
from sysgym.chip_placement.modes.sequence import OVER, Placing, Sequence, cells, refuse_start
from sysgym.core.defaults import complete
from sysgym.core.problem import Array, Size, Solution


@complete
class OneShot(Placing):
    """A cell for every macro at once: each, in order, goes to the legal cell that is nearest to its own."""

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A cell of the instance's own grid for every row of the graph; 0 where the row is no movable hard macro."""
        return spaces.MultiDiscrete(np.full(size.nodes, cells(size)))

    def start(self, chip: Chip, rng: np.random.Generator, solution: Solution | None = None) -> Sequence:
        """No movable macro is placed; a starting solution is refused."""
        refuse_start(solution, "oneshot")
        check_clustered(chip, self.objective)
        return self._empty(chip, rng)

    def mask(self, chip: Chip, state: Sequence, size: Size) -> Array:
        """All cells of the instance for movable hard macros, cell 0 for other rows, (N * cells,) int8."""
        allowed = np.zeros((size.nodes, cells(size)), np.int8)
        allowed[:, 0] = 1
        allowed[state.order, : chip.canvas.rows * chip.canvas.columns] = 1
        return allowed.ravel()

    def step(self, chip: Chip, state: Sequence, action: Any) -> Sequence:
        """Place all macros, and end the episode."""
        if state.s[OVER]:
            return state
        wanted = np.asarray(action)
        for i in state.order.tolist():
            row, column = divmod(int(wanted[i]), chip.canvas.columns)
            cell = sequence_kernels.nearest_free(self._mask(chip, state, i), row, column, *chip.canvas.cell)
            if cell < 0:
                break
            self.put(chip, state, cell)
        self._finish(chip, state)
        return state
