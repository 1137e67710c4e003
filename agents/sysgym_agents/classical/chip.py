"""Classical placers of macros: greedy packing along a spiral, and simulated annealing on the exact proxy.

The annealer is that of TILOS' MacroPlacement (`CodeElements/SimulatedAnnealing`): moves on the grid's centres that
keep macros legal, and the force-directed placer for the soft macros after every sweep.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Solution
from sysgym_agents.core import Budget, Clock

if TYPE_CHECKING:
    from sysgym.chip.instance import Chip
    from sysgym.chip.netlist import Netlist
    from sysgym.chip.plc import Canvas, Placement

CHANCES = (0.24, 0.24, 0.04, 0.24, 0.24)  # of swap, shift, mirror, move, shuffle


def start_placement(chip: Chip, rng: np.random.Generator, spacing: float = 0.0) -> Placement:
    """Hard macros packed along a spiral, else on cells in random order; UsageError if none of 50 tries is legal."""
    from sysgym.chip.packing import pack, spiral

    cells = spiral(chip.canvas.columns, chip.canvas.rows)
    for attempt in range(50):
        found = pack(chip.netlist, chip.canvas, chip.placement, rng.permutation(cells) if attempt else cells, spacing)
        if found is not None:
            return found
    raise UsageError(
        f"no legal placement of {chip.name} was found to start from: its macros leave little room on the grid; "
        "try a finer one with the option grid."
    )


def as_solution(chip: Chip, placement: Placement) -> Solution:
    """The named arrays of a placement."""
    rows = chip.macros
    return {
        "x": placement.x[rows], "y": placement.y[rows], "orientation": placement.orientation[rows].astype(np.int64),
    }  # fmt: skip


def objective_of(problem: Any, chip: Chip) -> tuple[Netlist, Canvas, tuple[float, float, float]]:
    """Netlist, canvas and weights whose proxy is the cost of the problem, up to a factor.

    For the macro-only wirelength these are the nets between macros, with the weight on wirelength alone.
    """
    from sysgym.chip.wire import wire

    canvas = problem.rules.canvas(chip.canvas)
    if problem.pays_for == "proxy":
        return chip.netlist, canvas, problem.weights
    nets, netlist, count = wire(chip).nets, chip.netlist, len(chip.netlist.kind)
    pins = count + np.arange(len(nets.macro))
    more = np.zeros(len(pins))
    parent = np.append(netlist.parent, chip.macros[nets.macro]).astype(np.int32)
    reduced = replace(
        netlist, kind=np.append(netlist.kind, np.full(len(pins), 3)).astype(np.int8),
        width=np.append(netlist.width, more), height=np.append(netlist.height, more), x=netlist.x[parent],
        y=netlist.y[parent], orientation=netlist.orientation[parent], parent=parent,
        x_offset=np.append(netlist.x_offset, nets.x_offset), y_offset=np.append(netlist.y_offset, nets.y_offset),
        ptr=nets.ptr, pins=pins.astype(np.int32), weight=nets.weight, names=(),
    )  # fmt: skip
    return reduced, canvas, (1.0, 0.0, 0.0)


def anneal(
    netlist: Netlist, canvas: Canvas, placement: Placement, rng: np.random.Generator, budget: Budget,
    weights: tuple[float, float, float] = (1.0, 0.5, 0.5), sweeps: int = 60, tries: int = 20,
    hot: float = 5e-3, cold: float = 1e-8, soft: bool = True,
) -> Placement:  # fmt: skip
    """Anneal a legal placement of hard macros; the best placement found, soft macros placed.

    Each of `sweeps` makes `tries` moves a hard macro at one temperature, from `hot` to `cold` geometrically, then
    places the soft macros anew (`soft`). With seconds in the budget, the share of them that is spent sets the
    temperature.
    """
    from sysgym.chip.cost import proxy_cost
    from sysgym.chip.force import place_soft
    from sysgym.chip.moves import Moves
    from sysgym_agents.classical import chip_kernels

    def settle(found: Placement) -> Moves:
        return Moves(netlist, canvas, place_soft(netlist, canvas, found) if soft else found)

    clock = Clock(budget)
    state = settle(placement)
    best, best_cost = state.as_placement(), proxy_cost(netlist, canvas, state.as_placement()).proxy(weights)
    done = 0
    while not clock.spent(done) and (budget.seconds is not None or done < sweeps):
        progress = clock.seconds / budget.seconds if budget.seconds is not None else done / max(sweeps - 1, 1)
        temperature = hot * (cold / hot) ** min(progress, 1.0)
        chip_kernels.sweep(
            rng, tries * len(state.movable), temperature, np.array(weights), np.array(CHANCES), state.movable,
            state.obstacles, canvas.width, canvas.height, state.divisor, *state.capacity, int(canvas.smoothing),
            *state.scratch, *state.tables(),
        )  # fmt: skip
        state = settle(state.as_placement())
        cost = state.cost().proxy(weights)
        if cost < best_cost:
            best, best_cost = state.as_placement(), cost
        done += 1
    return best


class Spiral:
    """Packs hard macros by descending area along a spiral from the border inwards; forces place the soft ones."""

    problems = ("ChipPlacement",)

    def solve(self, problem: Any, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """The packing; UsageError if there is none."""
        from sysgym.chip.force import place_soft

        found = start_placement(instance, rng, problem.spacing)
        if instance.has_soft:
            found = place_soft(instance.netlist, instance.canvas, found)
        return as_solution(instance, found)


class SAPlacer:
    """Simulated annealing of hard macros on the exact cost with TILOS' moves, soft macros placed after each sweep.

    Hyper-parameters:
        sweeps: temperatures, from `hot` to `cold` geometrically; a budget of steps takes their place, and seconds set
            the temperature by the share of them that is spent.
        tries: moves a hard macro in each sweep.
    """

    problems = ("ChipPlacement",)

    def __init__(self, *, sweeps: int = 60, tries: int = 20, hot: float = 5e-3, cold: float = 1e-8) -> None:
        self.sweeps, self.tries, self.hot, self.cold = sweeps, tries, hot, cold

    def solve(self, problem: Any, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """Anneal from a packing; UsageError if there is none."""
        netlist, canvas, weights = objective_of(problem, instance)
        start = start_placement(instance, rng, problem.spacing)
        full = netlist is instance.netlist
        if not full:
            start = replace(start, **{key: getattr(start, key)[netlist.parent] for key in vars(start)})
        if not netlist.nets or not instance.movable.size:
            return as_solution(instance, start)
        sweeps = self.sweeps if budget.steps is None else budget.steps
        found = anneal(netlist, canvas, start, rng, Budget(budget.seconds, sweeps), weights, sweeps, self.tries,
                       self.hot, self.cold, full and instance.has_soft)  # fmt: skip
        return as_solution(instance, found)
