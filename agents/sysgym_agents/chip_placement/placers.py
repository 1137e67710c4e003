"""Classical placers of macros: greedy packing, simulated annealing and coordinate descent on the exact proxy.

The annealer is that of TILOS' MacroPlacement (`CodeElements/SimulatedAnnealing`): moves on the grid's centres that
keep macros legal, and the force-directed placer for the soft macros after every sweep. The descent is that of Circuit
Training (`environment/coordinate_descent_placer.py`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.core.problem import Solution
from sysgym_agents.core import Budget, Clock

if TYPE_CHECKING:
    from sysgym.chip_placement.formats.netlist import Netlist
    from sysgym.chip_placement.formats.plc import Canvas, Placement
    from sysgym.chip_placement.geometry.moves import Moves
    from sysgym.chip_placement.instance import Chip
    from sysgym.chip_placement.problem import ChipPlacement

UNLIMITED = 2**62  # candidates
CHANCES = (0.24, 0.24, 0.04, 0.24, 0.24)  # of swap, shift, mirror, move, shuffle
STARTS = ("packing", "anneal")


def start_placement(chip: Chip, rng: np.random.Generator, spacing: float = 0.0) -> Placement:
    """A legal placement of the hard macros (`find_packing`); UsageError if none is found."""
    from sysgym.chip_placement.geometry.legal import check_fits
    from sysgym.chip_placement.geometry.packing import find_packing

    found = find_packing(chip.netlist, chip.canvas, chip.placement, rng, spacing)
    if found is None:
        check_fits(chip.netlist, chip.canvas, chip.placement)
        apart = f" {spacing:g} microns apart; -O spacing=0 lets them touch" if spacing > 0 else ""
        raise UsageError(
            f"no legal placement of {chip.name} was found to start from: its macros leave little room on the canvas"
            f"{apart}."
        )
    return found


def with_soft(chip: Chip, placement: Placement, square_soft: bool = True) -> Placement:
    """The placement with hard macros on whole units and soft ones placed by forces, none sticking out of the canvas."""
    from sysgym.chip_placement.geometry.force import settle_soft
    from sysgym.chip_placement.geometry.resolution import on_units

    placement = on_units(chip.netlist, chip.canvas, placement, chip.movable)
    return settle_soft(chip.netlist, chip.canvas, placement, square_soft) if chip.has_soft else placement


def as_solution(chip: Chip, placement: Placement) -> Solution:
    """The named arrays of a placement."""
    rows = chip.macros
    return {
        "x": placement.x[rows], "y": placement.y[rows], "orientation": placement.orientation[rows].astype(np.int64),
    }  # fmt: skip


def objective_of(problem: ChipPlacement, chip: Chip) -> tuple[Netlist, Canvas, tuple[float, float, float]]:
    """Netlist, canvas and weights whose proxy is the cost of the problem, up to a factor.

    For the macro-only wirelength these are the nets between macros, with the weight on wirelength alone.
    """
    from sysgym.chip_placement.geometry.wire import wire

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


class Setting(NamedTuple):
    """What a placement costs, and how its soft macros are placed."""

    netlist: Netlist
    canvas: Canvas
    weights: tuple[float, float, float] = (1.0, 0.5, 0.5)
    square_soft: bool = True
    forces: bool = True  # whether the force-directed placer places the soft macros
    gap: float = 0.0  # microns that moves leave between hard macros, and between them and the border
    margin: float = 0.0

    def keeping(self, placement: Placement, spacing: float) -> Setting:
        """The setting with the gaps that a placement of the hard macros keeps: `room` and the spacing, if it does."""
        from sysgym.chip_placement.geometry.legal import keeps
        from sysgym.chip_placement.geometry.packing import room

        least = room(self.canvas)
        wanted = (max(spacing, least), spacing, least)
        gap = next((gap for gap in wanted if keeps(self.netlist, self.canvas, placement, gap)[0]), 0.0)
        margin = least if keeps(self.netlist, self.canvas, placement, least)[1] else 0.0
        return self._replace(gap=gap, margin=margin)

    def settled(self, placement: Placement) -> Placement:
        """The placement with hard macros on whole units and its soft macros placed anew."""
        from sysgym.chip_placement.formats.netlist import HARD
        from sysgym.chip_placement.geometry.force import settle_soft
        from sysgym.chip_placement.geometry.resolution import on_units

        hard = np.flatnonzero((self.netlist.kind == HARD) & ~placement.fixed)
        placement = on_units(self.netlist, self.canvas, placement, hard)
        return settle_soft(self.netlist, self.canvas, placement, self.square_soft) if self.forces else placement

    def settle(self, placement: Placement, netlist: Netlist | None = None) -> Moves:
        """The maps of a placement after `settled`; of a netlist of the same costs, if one is given (`merged`)."""
        from sysgym.chip_placement.geometry.moves import Moves

        netlist = self.netlist if netlist is None else netlist
        return Moves(netlist, self.canvas, self.settled(placement), self.square_soft, self.gap, self.margin)

    def cost(self, state: Moves) -> float:
        """The weighted proxy as it stands, with the bound of the congestion."""
        return state.cost().proxy(self.weights)


def prepare(problem: ChipPlacement, chip: Chip, start: Placement) -> tuple[Setting, Placement]:
    """The setting of a problem and a placement over the nodes of its netlist."""
    netlist, canvas, weights = objective_of(problem, chip)
    full = netlist is chip.netlist
    if not full:
        known = {key: values for key, values in vars(start).items() if values is not None}
        start = replace(start, **{key: values[netlist.parent] for key, values in known.items()})
    setting = Setting(netlist, canvas, weights, problem.square_soft, full and chip.has_soft)
    return setting.keeping(start, problem.spacing_of(chip)), start


class Cooling(NamedTuple):
    """How `anneal` goes about it."""

    sweeps: int = 60  # temperatures, where the budget names no limit
    tries: int = 20  # moves a hard macro in each
    hot: float = 5e-3
    cold: float = 1e-8
    workers: int = 1  # chains


def anneal(
    setting: Setting, placement: Placement, rng: np.random.Generator, budget: Budget, plan: Cooling
) -> Placement:
    """Anneal a legal placement of hard macros; the best placement found, soft macros placed.

    Each of `sweeps` makes `tries` moves a hard macro at one temperature, from `hot` to `cold` geometrically, then
    places the soft macros anew where the setting says so. A budget of steps counts the start, every move and every
    placing of soft macros, and sets the number of sweeps; with time in the budget, the share of it that is spent
    sets the temperature. Of `workers` chains, which take turns, the worst go on from the best at every tenth of the
    schedule (go with the winners): a tenth of them, at least one.
    """
    from sysgym_agents.chip_placement import chip_kernels

    clock, hot, cold = Clock(budget), plan.hot, plan.cold
    chains = [setting.settle(placement) for _ in range(max(plan.workers, 1))]
    costs = [setting.cost(state) for state in chains]
    best, best_cost = chains[0].as_placement(), costs[0]
    each, forced = plan.tries * len(chains[0].movable), int(setting.forces)  # moves of a sweep, and the forces after it
    left = UNLIMITED if budget.steps is None else budget.steps - 1  # the start was judged
    sweeps = plan.sweeps if budget.steps is None else -(-left // max(len(chains) * (each + forced), 1))
    done = stage = 0
    while left > forced and not clock.spent() and (budget.timed or done < sweeps):
        progress = clock.share if budget.timed else done / max(sweeps - 1, 1)
        temperature = hot * (cold / hot) ** min(progress, 1.0)
        for k, state in enumerate(chains):
            moves = min(each, left - forced)
            if moves < 1:
                break
            left -= moves + forced
            chip_kernels.sweep(rng, moves, temperature, np.array(CHANCES), state.movable,
                               state.terms(setting.weights), state.tables())  # fmt: skip
            chains[k] = setting.settle(state.as_placement())
            costs[k] = setting.cost(chains[k])
            if costs[k] < best_cost:
                best, best_cost = chains[k].as_placement(), costs[k]
            if clock.spent():
                break
        done += 1
        if int(10 * progress) > stage:
            stage = int(10 * progress)
            ranking = np.argsort(costs, kind="stable")
            for k in range(min(len(chains) // 2, -(-len(chains) // 10))):
                winner, loser = ranking[k], ranking[-1 - k]
                chains[loser], costs[loser] = chains[winner].copy(), costs[winner]
    return best


def descend(
    setting: Setting, placement: Placement, rng: np.random.Generator, budget: Budget, epochs: int = 2, reach: int = 5
) -> Placement:
    """Coordinate descent: the best placement found, soft macros placed.

    In each epoch the hard macros, in random order, try all places within `reach` cells (in x and y together) in four
    orientations, and take the one of least cost; then the soft macros are placed anew. A budget of steps counts the
    start, every place and every placing of soft macros.
    """
    from sysgym.chip_placement.geometry.resolution import on_units
    from sysgym_agents.chip_placement import chip_kernels

    clock, state = Clock(budget), setting.settle(placement)
    best, best_cost, forced = state.as_placement(), setting.cost(state), int(setting.forces)
    left = UNLIMITED if budget.steps is None else budget.steps - 1  # the start was judged
    for _ in range(epochs if left > forced else 0):
        for node in rng.permutation(state.movable):
            if clock.spent() or left <= forced:
                break
            left -= chip_kernels.best_place(node, reach, left - forced, state.terms(setting.weights), state.tables())
        left -= forced
        for found in (state, setting.settle(state.as_placement())):  # forces may undo the gain
            if setting.cost(found) < best_cost:
                best, best_cost = found.as_placement(), setting.cost(found)
            state = found
        if clock.spent() or left <= forced:
            break
    return on_units(setting.netlist, setting.canvas, best, state.movable)


class Spiral:
    """Packs hard macros by descending area along a spiral from the border inwards; forces place the soft ones."""

    problems = ("ChipPlacement",)
    indivisible = "the whole answer: one packing, and the forces"

    def solve(self, problem: ChipPlacement, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """The packing; UsageError if there is none."""
        found = start_placement(instance, rng, problem.spacing_of(instance))
        return as_solution(instance, with_soft(instance, found, problem.square_soft))


class SAPlacer:
    """Simulated annealing of hard macros on the exact cost with TILOS' moves, soft macros placed after each sweep.

    Hyper-parameters:
        sweeps: temperatures, from `hot` to `cold` geometrically; a budget of steps has as many as its moves make, and
            seconds set the temperature by the share of them that is spent.
        tries: moves a hard macro in each sweep.
        workers: chains, in turn; every tenth of the schedule the worst go on from the best.
    """

    problems = ("ChipPlacement",)
    step = "a move, judged by its exact change of the cost (an illegal one counts too), or a placement after the forces"
    indivisible = "the packing to start from, or one sweep and the forces"

    def __init__(
        self, *, sweeps: int = 60, tries: int = 20, hot: float = 5e-3, cold: float = 1e-8, workers: int = 1
    ) -> None:
        self.sweeps, self.tries, self.hot, self.cold, self.workers = sweeps, tries, hot, cold, workers

    def solve(self, problem: ChipPlacement, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """Anneal from a packing; UsageError if there is none."""
        clock = Clock(budget)
        setting, start = prepare(problem, instance, start_placement(instance, rng, problem.spacing_of(instance)))
        if not setting.netlist.nets or not instance.movable.size:
            return as_solution(instance, setting.settle(start).as_placement())
        plan = Cooling(self.sweeps, self.tries, self.hot, self.cold, self.workers)
        found = anneal(setting, start, rng, clock.left(), plan)
        return as_solution(instance, found)


class CDPlacer:
    """Coordinate descent of Circuit Training on the exact cost, from a packing or a short annealing.

    Each hard macro, in random order, takes the cheapest place within `reach` cells in four orientations; forces place
    the soft macros after each epoch.

    Hyper-parameters:
        epochs: passes over the macros.
        reach: cells that a macro may go, in x and y together.
        start: "packing" or "anneal", 20 sweeps (or half of the seconds or steps) of `sa-placer`.
    """

    problems = ("ChipPlacement",)
    step = "a place of a macro, judged by its exact change of the cost, or a placement after the forces"
    indivisible = "the packing to start from, a macro's places, or the forces"

    def __init__(self, *, epochs: int = 2, reach: int = 5, start: str = "packing") -> None:
        if start not in STARTS:
            raise unknown("start", start, STARTS)
        self.epochs, self.reach, self.start = epochs, reach, start

    def solve(self, problem: ChipPlacement, instance: Chip, rng: np.random.Generator, budget: Budget) -> Solution:
        """Descend; UsageError if there is no packing."""
        clock, steps = Clock(budget), budget.steps
        half, rest = (None, None) if steps is None else (steps // 2, -(-steps // 2))
        setting, found = prepare(problem, instance, start_placement(instance, rng, problem.spacing_of(instance)))
        if self.start == "anneal" and half != 0 and instance.movable.size and setting.netlist.nets:
            found = anneal(setting, found, rng, budget.share(0.5)._replace(steps=half), Cooling(sweeps=20))
        else:
            rest = steps
        found = descend(setting, found, rng, clock.left()._replace(steps=rest), self.epochs, self.reach)
        return as_solution(instance, found)
