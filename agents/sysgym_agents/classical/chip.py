"""Classical placers of macros: greedy packing along a spiral, and simulated annealing on the exact proxy.

The annealer is that of TILOS' MacroPlacement (`CodeElements/SimulatedAnnealing`): moves on the grid's centres that
keep macros legal, and the force-directed placer for the soft macros after every sweep.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sysgym.chip import kernels
from sysgym.chip.cost import macro_sizes, proxy_cost
from sysgym.chip.force import place_soft
from sysgym.chip.moves import Moves
from sysgym.chip.netlist import HARD, Netlist
from sysgym.chip.plc import Canvas, Placement
from sysgym.core.problem import Array
from sysgym_agents.core import Budget, Clock

CHANCES = (0.24, 0.24, 0.04, 0.24, 0.24)  # of swap, shift, mirror, move, shuffle


def macro_order(netlist: Netlist) -> Array:
    """Hard macros by descending area, ties in the order of the file (Circuit Training's order)."""
    hard = np.flatnonzero(netlist.kind == HARD)
    return hard[np.argsort(-(netlist.width * netlist.height)[hard], kind="stable")]


def spiral(columns: int, rows: int) -> Array:
    """Cells (row, column) of a grid from the border inwards, counter-clockwise from the bottom left; (cells, 2)."""
    left, right, low, high = 0, columns - 1, 0, rows - 1
    cells = []
    while left <= right and low <= high:
        cells += [(low, c) for c in range(left, right + 1)]
        cells += [(r, right) for r in range(low + 1, high + 1)]
        if low < high:
            cells += [(high, c) for c in range(right - 1, left - 1, -1)]
        if left < right:
            cells += [(r, left) for r in range(high - 1, low, -1)]
        left, right, low, high = left + 1, right - 1, low + 1, high - 1
    return np.array(cells)


def pack(netlist: Netlist, canvas: Canvas, placement: Placement, cells: Array) -> Placement | None:
    """Hard macros, largest first, each on the first legal cell of a list; None where one finds no cell."""
    width, height = macro_sizes(netlist)
    hard = netlist.kind == HARD
    x, y, orientation = placement.x.copy(), placement.y.copy(), np.zeros_like(placement.orientation)
    placed = placement.placed & ~hard[netlist.parent] & (netlist.kind != HARD)
    obstacles = np.flatnonzero(hard)
    mask = np.zeros((canvas.rows, canvas.columns), np.int8)
    for node in macro_order(netlist):
        kernels.node_mask(obstacles, placed, x, y, width, height, width[node], height[node], canvas.width,
                          canvas.height, 0.0, mask)  # fmt: skip
        free = np.flatnonzero(mask[cells[:, 0], cells[:, 1]])
        if not len(free):
            return None
        row, column = cells[free[0]]
        x[node], y[node] = (column + 0.5) * canvas.width / canvas.columns, (row + 0.5) * canvas.height / canvas.rows
        placed[node] = True
    at = netlist.parent
    return replace(placement, x=x[at], y=y[at], orientation=orientation[at], placed=placed[at])


def anneal(
    netlist: Netlist, canvas: Canvas, placement: Placement, rng: np.random.Generator, budget: Budget,
    weights: tuple[float, float, float] = (1.0, 0.5, 0.5), sweeps: int = 60, tries: int = 20,
    hot: float = 5e-3, cold: float = 1e-8,
) -> Placement:  # fmt: skip
    """Anneal a legal placement of hard macros; the best placement found, soft macros placed.

    Each of `sweeps` makes `tries` moves a hard macro at one temperature, from `hot` to `cold` geometrically, then
    places the soft macros anew. With seconds in the budget, the share of them that is spent sets the temperature.
    """
    from sysgym_agents.classical import chip_kernels

    clock = Clock(budget)
    hard = np.flatnonzero(netlist.kind == HARD)
    state = Moves(netlist, canvas, place_soft(netlist, canvas, placement))
    best, best_cost = state.as_placement(), proxy_cost(netlist, canvas, state.as_placement()).proxy(weights)
    done = 0
    while not clock.spent(done) and (budget.seconds is not None or done < sweeps):
        progress = clock.seconds / budget.seconds if budget.seconds is not None else done / max(sweeps - 1, 1)
        temperature = hot * (cold / hot) ** min(progress, 1.0)
        chip_kernels.sweep(
            rng, tries * len(hard), temperature, np.array(weights), np.array(CHANCES), hard, canvas.width,
            canvas.height, state.divisor, *state.capacity, int(canvas.smoothing), *state.scratch, *state.tables(),
        )  # fmt: skip
        state = Moves(netlist, canvas, place_soft(netlist, canvas, state.as_placement()))
        cost = state.cost().proxy(weights)
        if cost < best_cost:
            best, best_cost = state.as_placement(), cost
        done += 1
    return best
