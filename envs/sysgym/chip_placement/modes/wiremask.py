"""Macro placement for macro-only wirelength as dynamics: `mode="hpwl"`.

One hard macro a step, in `order`, its lower left corner on that of the chosen grid cell. The reward is minus the
increase in HPWL (see `sysgym.chip_placement.geometry.wire`); an episode ends with the last macro, or where the next
one fits nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from sysgym.chip_placement.formats.netlist import SOFT
from sysgym.chip_placement.geometry import wire_kernels as kernels
from sysgym.chip_placement.geometry.wire import ORDERS, macro_hpwl, macro_solution, placing_order, wire
from sysgym.chip_placement.instance import Chip
from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError, unknown
from sysgym.core.problem import Array, Size, Solution


@dataclass
class State:
    """A partial placement; rows are those of `chip.macros`, `count` of `order` are placed."""

    order: Array  # (k,) int64, rows of the macros to place
    x: Array  # (m,) float64, lower left corners in microns, of placed macros
    y: Array
    rows: Array  # (m, 6) float32, the node features
    boxes: Array  # (E, 4) float64, of each net's placed pins
    run: Array  # (rows, columns) int16, free cells to the right
    across: Array  # (columns,) float64, increase in HPWL of the next macro along x
    up: Array  # (rows,) float64, along y
    mask: Array  # (rows, columns) int8
    count: int
    cost: float  # HPWL over placed macros; at the end that of the solution
    over: bool


@complete
class WireMaskMode:
    """Macros one after the other, with the wire mask of MaskPlace as a feature of every cell.

    An action is row * C + column, C = `stride`, or the instance's own number of columns where that is None. In masks
    and candidates the cells that an instance does not have, those behind its own included, are illegal.
    """

    node_features = ("x", "y", "width", "height", "placed", "current")
    global_features = ("macros", "nets", "columns", "rows", "filled", "wire", "progress")
    candidate_features = ("wire", "column", "row")

    def __init__(self, order: str = "nets", stride: int | None = None) -> None:
        if order not in ORDERS:
            raise unknown("order", order, ORDERS)
        self.order, self.stride = order, stride

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """A cell of the padded grid."""
        return spaces.Discrete(size.choices[0] * max(size.choices[1], self.stride or 0))

    def start(self, chip: Chip, rng: np.random.Generator, solution: Solution | None = None) -> State:
        """Only fixed macros are placed; a starting solution is refused."""
        if solution is not None:
            raise UsageError("mode 'hpwl' starts from nothing; a starting solution cannot be given.")
        if self.stride is not None and self.stride < chip.canvas.columns:
            raise UsageError(
                f"{chip.name!r} has {chip.canvas.columns} columns, actions have a stride of {self.stride}; "
                "pass a stride of at least as many."
            )
        tables, shape = wire(chip), (chip.canvas.rows, chip.canvas.columns)
        count = len(chip.macros)
        state = State(
            placing_order(chip, self.order, rng), np.zeros(count), np.zeros(count), _first_rows(chip),
            tables.boxes.copy(), tables.run.copy(), np.zeros(shape[1]), np.zeros(shape[0]), np.zeros(shape, np.int8),
            0, tables.start, False,
        )  # fmt: skip
        fits = len(state.order) > 0 and kernels.prepare(
            state.order[0], *tables.tables, state.boxes, state.run, *tables.cell, state.across, state.up, state.mask
        )
        self._turn(chip, state, bool(fits))
        state.cost = tables.start
        return state

    def _turn(self, chip: Chip, state: State, fits: bool) -> None:
        """Mark the current macro, or end the episode."""
        if fits:
            state.rows[state.order[state.count], 5] = 1.0
            return
        state.over = True
        state.across[:], state.up[:], state.mask[:] = 0.0, 0.0, 0
        state.mask[0, 0] = 1
        state.cost = macro_hpwl(wire(chip).nets, **self.solution(chip, state))

    def step(self, chip: Chip, state: State, action: Any) -> State:
        """Place the current macro; nothing once the episode is over."""
        if state.over:  # the first macro found no cell
            state.cost = macro_hpwl(wire(chip).nets, **self.solution(chip, state))
            return state
        row, column = divmod(int(action), self.stride or chip.canvas.columns)
        tables, macro = wire(chip), state.order[state.count]
        state.count += 1
        last = state.count == len(state.order)
        more, fits = kernels.play(
            macro, -1 if last else state.order[state.count], column, row, *tables.tables, state.boxes, state.run,
            *tables.cell, state.across, state.up, state.mask,
        )  # fmt: skip
        x, y = column * tables.cell_w, row * tables.cell_h
        state.x[macro], state.y[macro], state.cost = x, y, state.cost + more
        shown = state.rows[macro]
        shown[0] = (x + tables.width[macro] / 2) / chip.canvas.width
        shown[1] = (y + tables.height[macro] / 2) / chip.canvas.height
        shown[4], shown[5] = 1.0, 0.0
        self._turn(chip, state, fits and not last)
        return state

    def done(self, chip: Chip, state: State) -> bool:
        """Whether all macros are placed, or the next one fits nowhere."""
        return state.over

    def mask(self, chip: Chip, state: State, size: Size) -> Array:
        """Cells in which the current macro has room, (A,) int8; at the end cell 0 alone."""
        rows, columns = state.mask.shape
        stride = self.stride or columns
        flags = np.zeros(size.choices[0] * max(size.choices[1], self.stride or 0), np.int8)
        if stride == columns:
            flags[: rows * columns] = state.mask.ravel()
        else:
            flags[: rows * stride].reshape(rows, stride)[:, :columns] = state.mask
        return flags

    def legal(self, chip: Chip, state: State, action: int, size: Size) -> bool:
        """The mask's answer in constant time."""
        row, column = divmod(action, self.stride or chip.canvas.columns)
        rows, columns = state.mask.shape
        return 0 <= row < rows and column < columns and bool(state.mask[row, column])

    def candidates(self, chip: Chip, state: State, size: Size) -> tuple[Array, Array]:
        """Features of each cell (A, 3) float32, and the current macro for each (A,) int32.

        The increase in HPWL over the half perimeter of the canvas, legal or not; column and row over their numbers.
        """
        stride = self.stride or state.mask.shape[1]
        actions = size.choices[0] * max(size.choices[1], self.stride or 0)
        make = np.empty if actions == state.mask.size else np.zeros  # every row is written, or padding stays zero
        found = make((actions, len(self.candidate_features)), np.float32)
        kernels.show(state.across, state.up, stride, chip.canvas.width + chip.canvas.height, found)
        return found, np.full(actions, self.focus(chip, state), np.int32)

    def solution(self, chip: Chip, state: State) -> Solution:
        """x, y (m,) centres in microns and orientation (m,) over `chip.macros`; see `geometry.wire`."""
        placed = np.zeros(len(state.x), bool)
        placed[state.order[: state.count]] = True
        return macro_solution(chip, placed, state.x, state.y)

    def copy(self, state: State) -> State:
        """Fork a state."""
        return State(
            state.order.copy(), state.x.copy(), state.y.copy(), state.rows.copy(), state.boxes.copy(),
            state.run.copy(), state.across.copy(), state.up.copy(), state.mask.copy(), state.count, state.cost,
            state.over,
        )  # fmt: skip

    def cost(self, chip: Chip, state: State) -> float:
        """HPWL over the placed macros; at the end, dead or not, that of the solution."""
        return state.cost

    def scale(self, chip: Chip, state: State) -> float:
        """A twentieth of the half perimeter of the canvas times the summed weight of the nets.

        The return is -20 times the mean share of the half perimeter that a net spans: about -7 for random placements,
        -1 for good ones.
        """
        weight = float(wire(chip).nets.weight.sum()) or 1.0
        return (chip.canvas.width + chip.canvas.height) * weight / 20

    def nodes(self, chip: Chip, state: State) -> Array:
        """Centre, size (both over the canvas), placed and current of every macro, (m, 6) float32; soft ones 0."""
        return state.rows.copy()

    def globals(self, chip: Chip, state: State) -> Array:
        """Logarithms of sizes, share of the grid that is taken, cost over scale, progress; (7,) float32."""
        macros = max(len(state.order), 1)
        taken = 1.0 - np.count_nonzero(state.run) / state.run.size
        return np.array(
            [
                *np.log10([macros, max(wire(chip).nets.nets, 1), *state.mask.shape[::-1]]) / 6, taken,
                min(state.cost / self.scale(chip, state), 1e3), state.count / macros if len(state.order) else 1.0,
            ],
            np.float32,
        )  # fmt: skip

    def focus(self, chip: Chip, state: State) -> int:
        """Row of the current macro among `chip.macros`, -1 at the end."""
        return -1 if state.over else int(state.order[state.count])


def _first_rows(chip: Chip) -> Array:
    """Node features before anything is placed, (m, 6) float32."""
    tables, macros = wire(chip), chip.macros
    rows = np.zeros((len(macros), len(WireMaskMode.node_features)), np.float32)
    rows[:, 2], rows[:, 3] = tables.width / chip.canvas.width, tables.height / chip.canvas.height
    fixed = chip.placement.fixed[macros]
    rows[fixed, 0] = np.clip(chip.placement.x[macros][fixed] / chip.canvas.width, -1e3, 1e3)
    rows[fixed, 1] = np.clip(chip.placement.y[macros][fixed] / chip.canvas.height, -1e3, 1e3)
    rows[fixed, 4] = 1.0
    rows[chip.netlist.kind[macros] == SOFT] = 0.0
    return rows
