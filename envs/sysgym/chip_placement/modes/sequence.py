"""Placing hard macros one by one on the centres of grid cells (Circuit Training's episode), or all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from gymnasium import spaces

from sysgym.chip_placement.geometry import legal_kernels
from sysgym.chip_placement.geometry.force import settle_soft
from sysgym.chip_placement.geometry.resolution import on_unit
from sysgym.chip_placement.geometry.wire import placing_order, wire
from sysgym.chip_placement.instance import Chip
from sysgym.chip_placement.judge import Rules, all_nodes, check_clustered
from sysgym.chip_placement.kernels import cover
from sysgym.chip_placement.modes import sequence_kernels
from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Size, Solution, Verdict

NODE_FEATURES = ("x", "y", "placed", "mirror_x", "mirror_y", "current")
CELL_FEATURES = ("x", "y", "wire", "border", "near", "around", "mirror_x", "mirror_y")
GLOBAL_FEATURES = ("hard", "soft", "links", "aspect", "filled", "columns", "rows", "width", "height", "pull", "placed",
                   "progress")  # fmt: skip
Judge = Callable[[Chip, Solution], Verdict]


@dataclass
class Sequence:
    """A partial placement. Bodies are macros, then ports, then the blockages of the canvas."""

    x: Array  # (b,) float64, microns; unplaced macros stand where forces alone put them
    y: Array
    orientation: Array  # (b,) int8
    placed: Array  # (b,) bool
    grid: Array  # (rows, columns) float64, share of each cell that macros cover
    order: Array  # (k,) int64, bodies to place
    mask: Array  # (actions,) int8, of the next macro
    cells: Array  # (actions, F) float32
    s: Array  # (4,) float64: placed so far, whether it is over, the cost, weight of the next macro's nets

    def copy(self) -> Sequence:
        """An independent copy."""
        return Sequence(**{item.name: getattr(self, item.name).copy() for item in fields(self)})


DONE, OVER, COST, PULL = range(4)


def node_rows(chip: Chip, x: Array, y: Array, orientation: Array, placed: Array, focus: int) -> Array:
    """Changing features of the rows of the graph, (n, 6) float32, from arrays over macros (m,)."""
    ports, many = chip.graph.ports, len(chip.macros)
    rows = np.zeros((many + len(ports), len(NODE_FEATURES)), np.float32)
    size = np.array([chip.canvas.width, chip.canvas.height])
    rows[:many, 0], rows[:many, 1] = 2 * x / size[0] - 1, 2 * y / size[1] - 1
    rows[many:, :2] = 2 * ports / size - 1
    rows[:many, 2], rows[many:, 2] = placed, 1
    rows[:many, 3], rows[:many, 4] = np.isin(orientation, (1, 2)), np.isin(orientation, (2, 3))
    if focus >= 0:
        rows[focus, 5] = 1
    np.clip(rows, -1e3, 1e3, out=rows)
    return rows


def global_row(chip: Chip, focus: int, pull: float, placed: float, progress: float) -> Array:
    """GLOBAL_FEATURES, (12,) float32; width and height are those of the focused macro over the canvas."""
    canvas, bodies = chip.canvas, chip.bodies
    area = (bodies.width * bodies.height)[: len(chip.macros)]
    size = (bodies.width[focus] / canvas.width, bodies.height[focus] / canvas.height) if focus >= 0 else (0.0, 0.0)
    total = max(float(bodies.weight.sum()), 1e-9)
    values = [
        np.log10(max(len(chip.movable), 1)) / 4, np.log10(max(int((~bodies.hard).sum()), 1)) / 4,
        np.log10(max(len(chip.graph.edges), 1)) / 6, np.log2(canvas.width / canvas.height),
        area.sum() / (canvas.width * canvas.height), canvas.columns / 128, canvas.rows / 128, *size,
        np.sqrt(pull / total), placed / max(float(area[bodies.hard[: len(area)]].sum()), 1e-9), progress,
    ]  # fmt: skip
    return np.clip(np.array(values, np.float32), -1e3, 1e3)


def reward_scale(chip: Chip, objective: str) -> float:
    """1 for the proxy; for hpwl a twentieth of the half perimeter times the weight of the nets, as in mode hpwl."""
    weight = float(wire(chip).nets.weight.sum()) or 1.0
    return 1.0 if objective == "proxy" else (chip.canvas.width + chip.canvas.height) * weight / 20


def cells(size: Size) -> int:
    """Cells of the padded grid."""
    return size.choices[0] * size.choices[1]


def refuse_start(solution: Solution | None, mode: str) -> None:
    """UsageError for a starting solution where a mode begins with nothing."""
    if solution is not None:
        raise UsageError(f"mode {mode!r} starts from nothing; a starting solution needs mode='refine'.")


class Placing:
    """What placing one by one and at once share: bodies on a grid, the end of an episode, features."""

    node_features = NODE_FEATURES
    global_features = GLOBAL_FEATURES

    def __init__(
        self, judge: Judge, rules: Rules, order: str, spacing: float | None, orientations: int, soft: str
    ) -> None:
        self.judge, self.rules, self.order, self.spacing = judge, rules, order, spacing
        self.objective, self.orientations, self.soft = rules.objective, orientations, soft

    def _empty(self, chip: Chip, rng: np.random.Generator) -> Sequence:
        canvas, bodies, layout = chip.canvas, chip.bodies, chip.layout
        left, low, right, high, _ = canvas.obstacles.T
        order = placing_order(chip, self.order, rng)
        placed = np.append(chip.placement.fixed[bodies.node] | ~np.isin(np.arange(len(bodies.node)), order),
                           np.ones(len(left), bool))  # fmt: skip
        placed[np.flatnonzero(~bodies.hard[: len(chip.macros)])] = False  # soft macros come last
        orientation = np.append(chip.placement.orientation[bodies.node], np.zeros(len(left))).astype(np.int8)
        orientation[order] = 0
        actions = self.orientations * canvas.rows * canvas.columns
        state = Sequence(
            np.append(layout.x[bodies.node], (left + right) / 2), np.append(layout.y[bodies.node], (low + high) / 2),
            orientation, placed, np.zeros((canvas.rows, canvas.columns)), order, np.zeros(actions, np.int8),
            np.zeros((actions, len(CELL_FEATURES)), np.float32), np.zeros(4),
        )  # fmt: skip
        width, height = self._sizes(chip)
        fixed = [i for i in range(len(chip.macros)) if bodies.hard[i] and placed[i]]
        for i in [*fixed, *range(len(bodies.node), len(placed))]:
            self._cover(chip, state, i, width[i], height[i])
        return state

    @staticmethod
    def _sizes(chip: Chip) -> tuple[Array, Array]:
        """Widths and heights of bodies and blockages."""
        left, low, right, high, _ = chip.canvas.obstacles.T
        return np.append(chip.bodies.width, right - left), np.append(chip.bodies.height, high - low)

    @staticmethod
    def _cover(chip: Chip, state: Sequence, i: int, width: float, height: float) -> None:
        cell_w, cell_h = chip.canvas.cell
        cover(state.x[i], state.y[i], width, height, cell_w, cell_h, 1.0 / (cell_w * cell_h), state.grid)

    def _mask(self, chip: Chip, state: Sequence, i: int) -> Array:
        """Legal cells of a macro, (rows, columns) int8."""
        canvas = chip.canvas
        mask = np.zeros((canvas.rows, canvas.columns), np.int8)
        width, height = self._sizes(chip)
        spacing = chip.gap if self.spacing is None else self.spacing
        hard = np.append(chip.bodies.hard, np.ones(len(width) - len(chip.bodies.hard), bool))
        legal_kernels.node_mask(np.flatnonzero(hard), state.placed, state.x, state.y, width, height, width[i],
                                height[i], canvas.width, canvas.height, spacing, mask)  # fmt: skip
        return mask

    def put(self, chip: Chip, state: Sequence, action: int) -> None:
        """Place the next macro on a cell."""
        canvas, i = chip.canvas, int(state.order[int(state.s[DONE])])
        facing, cell = divmod(action, canvas.rows * canvas.columns)
        row, column = divmod(cell, canvas.columns)
        state.x[i], state.y[i] = (column + 0.5) * canvas.cell[0], (row + 0.5) * canvas.cell[1]
        state.orientation[i], state.placed[i] = facing, True
        self._cover(chip, state, i, chip.bodies.width[i], chip.bodies.height[i])
        state.s[DONE] += 1

    def _finish(self, chip: Chip, state: Sequence) -> None:
        canvas, many = chip.canvas, len(chip.macros)
        state.s[OVER], state.mask[:], state.cells[:] = 1, 0, 0
        soft = np.flatnonzero(~chip.bodies.hard[:many])
        complete = int(state.s[DONE]) == len(state.order)
        if complete:  # on whole units, which every file keeps, before soft macros follow
            for at in (state.x, state.y):
                at[state.order] = on_unit(canvas, at[state.order])
        if not complete:
            lost = np.append(state.order[int(state.s[DONE]) :], soft)
            state.x[lost], state.y[lost] = canvas.width / 2, canvas.height / 2
        elif self.soft == "force" and chip.has_soft:
            given = all_nodes(chip, *self._macros(chip, state))
            placement = settle_soft(chip.netlist, canvas, given, self.rules.square_soft)
            state.x[soft], state.y[soft] = placement.x[chip.macros[soft]], placement.y[chip.macros[soft]]
        else:
            state.x[soft], state.y[soft] = chip.placement.x[chip.macros[soft]], chip.placement.y[chip.macros[soft]]
        state.placed[:many] = True
        state.s[COST] = self.judge(chip, self.solution(chip, state)).cost

    @staticmethod
    def _macros(chip: Chip, state: Sequence) -> tuple[Array, Array, Array]:
        many = len(chip.macros)
        return state.x[:many].copy(), state.y[:many].copy(), state.orientation[:many].astype(np.int64)

    def done(self, chip: Chip, state: Sequence) -> bool:
        """Whether the episode is over."""
        return bool(state.s[OVER])

    def solution(self, chip: Chip, state: Sequence) -> Solution:
        """Positions of all macros; of unplaced ones where they stand for now."""
        return dict(zip(("x", "y", "orientation"), self._macros(chip, state), strict=True))

    def copy(self, state: Sequence) -> Sequence:
        """Fork a state."""
        return state.copy()

    def cost(self, chip: Chip, state: Sequence) -> float:
        """0 until the end, then the judged cost."""
        return float(state.s[COST])

    def scale(self, chip: Chip, state: Sequence) -> float:
        """See `reward_scale`."""
        return reward_scale(chip, self.objective)

    def nodes(self, chip: Chip, state: Sequence) -> Array:
        """NODE_FEATURES, (n, 6) float32."""
        many = len(chip.macros)
        arrays = (state.x[:many], state.y[:many], state.orientation[:many], state.placed[:many])
        return node_rows(chip, *arrays, self.focus(chip, state))

    def globals(self, chip: Chip, state: Sequence) -> Array:
        """GLOBAL_FEATURES, (12,) float32."""
        done, area = int(state.s[DONE]), (chip.bodies.width * chip.bodies.height)[state.order[: int(state.s[DONE])]]
        share = done / max(len(state.order), 1)
        return global_row(chip, self.focus(chip, state), float(state.s[PULL]), float(area.sum()), share)

    def focus(self, chip: Chip, state: Sequence) -> int:
        """No macro in particular."""
        return -1


@complete
class Sequential(Placing):
    """One macro after the other on a cell's centre; at the end forces place the soft macros, and the cost is judged.

    The running cost is 0 until then. Where a macro finds no legal cell, the episode ends; it and the macros after it
    stand in the middle of the canvas then, and the answer is infeasible unless they happen to fit there.
    """

    candidate_features = CELL_FEATURES

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """(orientation * rows + row) * columns + column, of the instance's own grid."""
        return spaces.Discrete(self.orientations * cells(size))

    def start(self, chip: Chip, rng: np.random.Generator, solution: Solution | None = None) -> Sequence:
        """No movable macro is placed; a starting solution is refused."""
        refuse_start(solution, "sequential")
        check_clustered(chip, self.objective)
        state = self._empty(chip, rng)
        self._show(chip, state)
        state.s[COST] = 0.0  # even where the first macro finds no cell
        return state

    def _show(self, chip: Chip, state: Sequence) -> None:
        """Mask and features of the cells for the next macro; the end where there is none or no cell for it."""
        done = int(state.s[DONE])
        if done == len(state.order):
            self._finish(chip, state)
            return
        i = int(state.order[done])
        mask = self._mask(chip, state, i)
        if not mask.any():
            self._finish(chip, state)
            return
        state.mask[:] = np.tile(mask.ravel(), self.orientations)
        self._describe(chip, state, i)

    def _describe(self, chip: Chip, state: Sequence, i: int) -> None:
        canvas, bodies = chip.canvas, chip.bodies
        across = np.empty((self.orientations, canvas.columns))
        along = np.empty((self.orientations, canvas.rows))
        state.s[PULL] = sequence_kernels.wire_profiles(
            i, bodies.ptr, bodies.body, bodies.dx, bodies.dy, bodies.weight, bodies.net_ptr, bodies.net_of, state.x,
            state.y, state.orientation, *canvas.cell, across, along,
        )  # fmt: skip
        table = np.zeros((canvas.rows + 1, canvas.columns + 1))
        sequence_kernels.summed_area(state.grid, table)
        scale = max(state.s[PULL], 1e-9) * (canvas.width + canvas.height)
        sequence_kernels.describe_cells(across, along, scale, table, bodies.width[i], bodies.height[i], canvas.width,
                                        canvas.height, state.cells)  # fmt: skip

    def legal(self, chip: Chip, state: Sequence, action: int, size: Size) -> bool:
        """The mask's answer in constant time."""
        return 0 <= action < len(state.mask) and bool(state.mask[action] or (state.s[OVER] and action == 0))

    def mask(self, chip: Chip, state: Sequence, size: Size) -> Array:
        """Legal cells, (A,) int8; action 0 when it is over."""
        allowed = np.zeros(self.orientations * cells(size), np.int8)
        if state.s[OVER]:
            allowed[0] = 1
        else:
            allowed[: len(state.mask)] = state.mask
        return allowed

    def candidates(self, chip: Chip, state: Sequence, size: Size) -> tuple[Array, Array]:
        """CELL_FEATURES of each cell (A, 8) float32, and the macro in question for each (A,) int32."""
        count = self.orientations * cells(size)
        rows = np.zeros((count, len(CELL_FEATURES)), np.float32)
        rows[: len(state.cells)] = state.cells
        return rows, np.full(count, self.focus(chip, state), np.int32)

    def step(self, chip: Chip, state: Sequence, action: Any) -> Sequence:
        """Place the macro."""
        if state.s[OVER]:
            state.s[COST] = self.judge(chip, self.solution(chip, state)).cost
            return state
        self.put(chip, state, int(action))
        self._show(chip, state)
        return state

    def focus(self, chip: Chip, state: Sequence) -> int:
        """Row of the next macro, -1 at the end."""
        return -1 if state.s[OVER] else int(state.order[int(state.s[DONE])])
