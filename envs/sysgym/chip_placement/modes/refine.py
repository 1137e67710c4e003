"""Moves on a complete placement: shift, mirror, move, swap, with the exact cost after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces

from sysgym.chip_placement.formats.netlist import SOFT
from sysgym.chip_placement.formats.plc import Placement
from sysgym.chip_placement.geometry import legal_kernels
from sysgym.chip_placement.geometry.force import place_soft
from sysgym.chip_placement.geometry.legal import check_fits, find_faults
from sysgym.chip_placement.geometry.moves import Moves
from sysgym.chip_placement.geometry.packing import find_packing
from sysgym.chip_placement.geometry.resolution import canonical, on_unit, on_units
from sysgym.chip_placement.geometry.wire import macro_hpwl, wire
from sysgym.chip_placement.instance import Chip
from sysgym.chip_placement.judge import Rules, all_nodes, check_clustered
from sysgym.chip_placement.modes.sequence import NODE_FEATURES, cells, global_row, node_rows, reward_scale
from sysgym.core.defaults import complete
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Size, Solution, Verdict

SHIFTS, MIRRORS = 4, 3  # the first choices of an action: left, right, down, up; mirror in x, in both, in y


@dataclass
class Refined:
    """A complete placement under way, and the best one seen."""

    moves: Moves
    best: tuple[Array, Array, Array]  # x, y, orientation of the macros, (m,) each
    now: float  # cost as it stands
    least: float  # cost of the best
    played: int
    horizon: int
    legal: bool  # whether the best is

    def copy(self) -> Refined:
        """An independent copy."""
        return replace(self, moves=self.moves.copy(), best=tuple(part.copy() for part in self.best))  # type: ignore[arg-type]


@complete
class Refine:
    """Pairs (row, choice): shift the macro by a cell, mirror it, move it to a cell's centre, swap it with another.

    A move that would leave the canvas, overlap a hard macro or a blockage, or change what is fixed, changes nothing
    but counts as a step, as in TILOS' annealer. Soft macros may move too, and may overlap. The solution is the best
    placement seen; its cost is judged anew at the end.
    """

    node_features = NODE_FEATURES
    global_features = ("hard", "soft", "links", "aspect", "filled", "columns", "rows", "cost", "best", "wirelength",
                       "density", "congestion", "progress")  # fmt: skip

    def __init__(self, judge: Callable[[Chip, Solution], Verdict], rules: Rules, start: str, steps: int | None) -> None:
        self.judge, self.rules, self.start_from, self.steps = judge, rules, start, steps

    def action_space(self, size: Size) -> spaces.Space[Any]:
        """(row of the graph, choice): 4 shifts, 3 mirrorings, the instance's own cells, then its rows to swap with."""
        return spaces.MultiDiscrete([size.nodes, SHIFTS + MIRRORS + cells(size) + size.nodes])

    def start(self, chip: Chip, rng: np.random.Generator, solution: Solution | None = None) -> Refined:
        """Start from `solution`, else from a packing (spiral or in random order of cells) with soft macros placed."""
        check_clustered(chip, self.rules.objective)
        canvas = self.rules.canvas(chip.canvas)
        if solution is not None:
            moved = self.judge(chip, solution).metrics["moved"]
            if moved:
                raise UsageError(
                    f"the starting solution moves {moved:g} fixed macros of {chip.name}; leave them alone."
                )
            placement = all_nodes(chip, *(np.asarray(solution[key]) for key in ("x", "y", "orientation")))
            placement = canonical(chip.netlist, canvas, placement, self.rules.square_soft)
        else:
            own = chip.macros[~chip.placement.fixed[chip.macros]]
            placement = on_units(chip.netlist, canvas, self._packed(chip, rng), own)
        moves = Moves(chip.netlist, canvas, placement, self.rules.square_soft)
        steps = self.steps if self.steps is not None else 20 * max(len(chip.movable), 1)
        state = Refined(moves, self._macros(chip, moves), 0.0, 0.0, 0, steps, True)
        state.legal = solution is None or self.judge(chip, self.solution(chip, state)).feasible
        state.now = state.least = self._cost(chip, moves)
        return state

    def _packed(self, chip: Chip, rng: np.random.Generator) -> Placement:
        found = find_packing(chip.netlist, chip.canvas, chip.placement, rng, shuffled=self.start_from == "random")
        if found is None:
            check_fits(chip.netlist, chip.canvas, chip.placement)
            raise UsageError(
                f"no legal placement of {chip.name} was found to start from; give one by "
                'reset(options={"solution": ...}).'
            )
        return place_soft(chip.netlist, chip.canvas, found, self.rules.square_soft) if chip.has_soft else found

    @staticmethod
    def _macros(chip: Chip, moves: Moves) -> tuple[Array, Array, Array]:
        rows = chip.macros
        return moves.x[rows], moves.y[rows], moves.orientation[rows].astype(np.int64)

    def _cost(self, chip: Chip, moves: Moves) -> float:
        if self.rules.objective == "hpwl":
            return macro_hpwl(wire(chip).nets, *self._macros(chip, moves))
        return moves.cost().proxy(self.rules.weights)

    def mask(self, chip: Chip, state: Refined, size: Size) -> Array:
        """Macros that may move, and every choice that the instance has, (A,) int8."""
        base = self._swap_base(chip)
        allowed = np.zeros(2 * size.nodes + SHIFTS + MIRRORS + cells(size), np.int8)
        own = self._free(chip)
        allowed[: len(own)] = own
        if not own.any():
            allowed[0] = 1
        choices = allowed[size.nodes :]
        choices[:base] = 1
        choices[base : base + len(own)] = own
        return allowed

    @staticmethod
    def _free(chip: Chip) -> Array:
        """Rows of macros that may move, (m,) bool."""
        return ~chip.placement.fixed[chip.macros]

    def step(self, chip: Chip, state: Refined, action: Any) -> Refined:
        """Play a move if it is possible."""
        state.played += 1
        moves = state.moves
        row, choice = int(action[0]), int(action[1])
        node = int(chip.macros[row]) if row < len(chip.macros) else -1
        nodes, x, y, facing = self._wanted(chip, moves, node, choice)
        if nodes and self._possible(chip, moves, nodes, x, y):
            moves.put(nodes, x, y, facing)
            state.now = self._cost(chip, moves)
            came = not state.legal and self._is_legal(chip, moves)  # from an illegal start; then all moves keep it so
            if came or state.now < state.least:
                state.least, state.best, state.legal = state.now, self._macros(chip, moves), state.legal or came
        if state.played >= state.horizon:
            state.least = self.judge(chip, self.solution(chip, state)).cost
        return state

    def _is_legal(self, chip: Chip, moves: Moves) -> bool:
        faults = find_faults(chip.netlist, moves.canvas, moves.as_placement(), self.rules.square_soft)
        return not faults.sentences(soft=self.rules.objective == "proxy")

    @staticmethod
    def _swap_base(chip: Chip) -> int:
        """The first choice that names a macro to swap with; those before it concern one macro."""
        return SHIFTS + MIRRORS + chip.canvas.rows * chip.canvas.columns

    def _wanted(
        self, chip: Chip, moves: Moves, node: int, choice: int
    ) -> tuple[list[int], list[float], list[float], list[int]]:
        """Nodes and their new places, on whole units; none where the choice concerns nothing that may move."""
        canvas, base = chip.canvas, self._swap_base(chip)
        if node < 0 or chip.placement.fixed[node]:
            return [], [], [], []
        x, y, facing = float(moves.x[node]), float(moves.y[node]), int(moves.orientation[node])
        if choice < SHIFTS:
            way = ((-1, 0), (1, 0), (0, -1), (0, 1))[choice]
            at = on_unit(canvas, np.array([x, y]) + np.array(way) * canvas.cell)
            return [node], [float(at[0])], [float(at[1])], [facing]
        if choice < SHIFTS + MIRRORS:
            return [node], [x], [y], [facing ^ (choice - SHIFTS + 1)]
        if choice < base:
            row, column = divmod(choice - SHIFTS - MIRRORS, canvas.columns)
            at = on_unit(canvas, (np.array([column, row]) + 0.5) * canvas.cell)
            return [node], [float(at[0])], [float(at[1])], [facing]
        other = int(chip.macros[choice - base]) if choice - base < len(chip.macros) else node
        if other == node or chip.placement.fixed[other]:
            return [], [], [], []
        there = float(moves.x[other]), float(moves.y[other])
        return [node, other], [there[0], x], [there[1], y], [facing, int(moves.orientation[other])]

    def _possible(self, chip: Chip, moves: Moves, nodes: list[int], x: list[float], y: list[float]) -> bool:
        moved, new_x, new_y = np.array(nodes, np.int64), np.array(x), np.array(y)
        soft = chip.netlist.kind[moved] == SOFT
        canvas = chip.canvas
        none = np.zeros(0, np.int64)
        if not soft.any() and not legal_kernels.apart(len(nodes), moved, new_x, new_y, moves.width, moves.height,
                                                      0.0):  # fmt: skip
            return False
        return all(
            legal_kernels.fits(nodes[k], x[k], y[k], none if soft[k] else moves.obstacles, moves.x, moves.y,
                               moves.width, moves.height, canvas.width, canvas.height, 0.0, 0.0, moved, len(nodes))
            for k in range(len(nodes))
        )  # fmt: skip

    def done(self, chip: Chip, state: Refined) -> bool:
        """Whether all moves are played."""
        return state.played >= state.horizon

    def solution(self, chip: Chip, state: Refined) -> Solution:
        """The best placement seen."""
        return {"x": state.best[0].copy(), "y": state.best[1].copy(), "orientation": state.best[2].copy()}

    def copy(self, state: Refined) -> Refined:
        """Fork a state."""
        return state.copy()

    def cost(self, chip: Chip, state: Refined) -> float:
        """Cost of the best placement seen; judged anew at the end."""
        return state.least

    def scale(self, chip: Chip, state: Refined) -> float:
        """A tenth of `reward_scale`, so that a return of 1 is an improvement of the proxy by 0.1."""
        return reward_scale(chip, self.rules.objective) / 10

    def nodes(self, chip: Chip, state: Refined) -> Array:
        """NODE_FEATURES, (n, 6) float32."""
        x, y, facing = self._macros(chip, state.moves)
        return node_rows(chip, x, y, facing, np.ones(len(x), bool), -1)

    def globals(self, chip: Chip, state: Refined) -> Array:
        """Sizes, costs and progress, (13,) float32."""
        scale = reward_scale(chip, self.rules.objective)
        parts = state.moves.cost()
        sizes = global_row(chip, -1, 0.0, 0.0, 0.0)[:7]
        costs = [state.now / scale, state.least / scale, *parts[1:], state.played / state.horizon]
        return np.concatenate([sizes, np.clip(costs, -1e3, 1e3).astype(np.float32)])

    def focus(self, chip: Chip, state: Refined) -> int:
        """No macro in particular."""
        return -1
