"""Annealing of hard and soft macros together on the exact proxy, at any coordinates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sysgym.core.problem import Array
from sysgym_agents.chip_placement.placers import UNLIMITED
from sysgym_agents.core import Budget, Clock

if TYPE_CHECKING:
    from sysgym.chip_placement.formats.netlist import Netlist
    from sysgym.chip_placement.formats.plc import Canvas, Placement

HARD_CHANCES = (0.35, 0.15, 0.25, 0.05, 0.20)  # of shift, jump, swap, mirror, snap
SOFT_CHANCES = (0.50, 0.40, 0.10, 0.00, 0.00)
QUENCH = 0.95  # of the schedule; what is left goes downhill
RENEW = 64  # moves between exact thresholds of the tail means


def merged(netlist: Netlist) -> Netlist:
    """The same costs with fewer nets: pins at the centre of their macro become the macro, equal nets one net.

    Nets are equal if they have the driver and the set of sinks in common: those have the same length and route.
    Nets lighter than 1 stay as they are, because their routes weigh 1.
    """
    central = (netlist.x_offset == 0) & (netlist.y_offset == 0)
    pins = np.where(central, netlist.parent, np.arange(len(netlist.kind)))[netlist.pins]
    bounds = netlist.ptr.tolist()
    found: dict[tuple[int, ...], float] = {}
    for e in range(netlist.nets):
        driver, *sinks = pins[bounds[e] : bounds[e + 1]].tolist()
        weight = float(netlist.weight[e])
        key = (driver, *sorted({*sinks} - {driver}), *(() if weight >= 1 else (-1 - e,)))
        found[key] = found.get(key, 0.0) + weight
    members = [[pin for pin in key if pin >= 0] for key in found]
    ptr = np.concatenate([[0], np.cumsum([len(item) for item in members])]).astype(np.int64)
    flat = np.array([pin for item in members for pin in item], np.int32)
    return replace(netlist, ptr=ptr, pins=flat, weight=np.array(list(found.values())))


def polish(
    netlist: Netlist, canvas: Canvas, placement: Placement, rng: np.random.Generator, budget: Budget, *,
    weights: tuple[float, float, float] = (1.0, 0.5, 0.5), hot: float = 0.08, cold: float = 1.5e-3,
    share: float = 0.3, soft: Array | None = None, square_soft: bool = True, tries: int = 4, sweeps: int = 1000,
    gaps: tuple[float, float] = (0.0, 0.0),
) -> Placement:  # fmt: skip
    """Anneal a legal placement; the best found, on whole units of the canvas.

    `soft` are the nodes of soft macros to move, default all that are not fixed; `share` of the moves go to hard ones. A
    step of the budget is a move; `tries` a macro are a sweep, of which there are `sweeps` without a budget.
    Temperatures, a share of the cost at the start a macro, go from `hot` to `cold` geometrically, over the time if it
    is limited, and end far below. Moves leave `gaps` microns between hard macros, and between them and the border.
    """
    from sysgym.chip_placement.formats.netlist import SOFT
    from sysgym.chip_placement.geometry.moves import Moves
    from sysgym.chip_placement.geometry.resolution import on_units
    from sysgym_agents.chip_placement import analytic_kernels

    clock = Clock(budget)
    soft = np.flatnonzero((netlist.kind == SOFT) & ~placement.fixed) if soft is None else soft
    reduced = merged(netlist)
    state = Moves(reduced, canvas, placement, square_soft, *gaps)
    nodes = np.append(state.movable, soft)
    best, best_cost = placement, state.cost().proxy(weights)
    many, done = len(state.movable) + len(soft), 0
    if not many:
        return placement
    span, cell = max(canvas.width, canvas.height), max(canvas.cell)
    each, unit, left = tries * many, best_cost / many, UNLIMITED if budget.steps is None else budget.steps
    total = sweeps if budget.steps is None else -(-left // each)
    while left > 0 and not clock.spent() and (budget.timed or done < total):
        progress = min(clock.share if budget.timed else done / total, 1.0)
        heat = unit * hot * (cold / hot) ** (progress / QUENCH) if progress < QUENCH else unit * cold / 30
        wander = 0.3 * span * (cell / span) ** min(1.5 * progress, 1.0)
        analytic_kernels.anneal_any(
            rng, min(each, left), heat, state.movable,
            analytic_kernels.Schedule(share, np.array(HARD_CHANCES), np.array(SOFT_CHANCES), soft, wander, RENEW),
            state.terms(weights), state.tables(),
        )  # fmt: skip
        state.recompute()
        cost = state.cost().proxy(weights)
        if cost < best_cost:
            best, best_cost = state.as_placement(), cost
        done, left = done + 1, left - each
    return on_units(netlist, canvas, best, nodes)
