"""The only definition of cost and validity of a macro placement."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sysgym.chip_placement.cost import proxy_cost
from sysgym.chip_placement.formats.netlist import CELL, HARD, SOFT
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.geometry.force import settle_soft
from sysgym.chip_placement.geometry.legal import find_faults
from sysgym.chip_placement.geometry.wire import macro_hpwl, wire
from sysgym.chip_placement.instance import Chip
from sysgym.core.errors import UsageError
from sysgym.core.problem import Array, Solution, Verdict

# What an illegal placement costs in rewards at least: Circuit Training's INFEASIBLE_REWARD, and for hpwl what every net
# across the whole canvas would.
WORSE = {"proxy": 4.0, "hpwl": 20.0}
MOVED = 1e-5  # of the half perimeter: fixed macros may be off by the rounding of a file


@dataclass(frozen=True)
class Rules:
    """What a placement costs: `proxy` or `hpwl`, and the choices behind the proxy."""

    objective: str
    weights: tuple[float, float, float]  # of wirelength cost, density cost, congestion cost
    square_soft: bool
    automatic_grid: bool
    smoothing: int | None  # None = as the canvas has it

    def canvas(self, canvas: Canvas) -> Canvas:
        """The canvas with these choices."""
        if self.automatic_grid:
            canvas = canvas.automatic_congestion()
        return canvas if self.smoothing is None else replace(canvas, smoothing=float(self.smoothing))


def all_nodes(chip: Chip, x: Array, y: Array, orientation: Array) -> Placement:
    """Placement of all nodes from the positions of the macros, (m,) each."""
    netlist, start = chip.netlist, chip.placement
    full = {"x": start.x.copy(), "y": start.y.copy(), "orientation": start.orientation.copy(),
            "placed": start.placed.copy()}  # fmt: skip
    for name, value in (("x", x), ("y", y), ("orientation", orientation), ("placed", True)):
        full[name][chip.macros] = value
    return replace(start, **{name: value[netlist.parent] for name, value in full.items()})


def as_freedom(chip: Chip, solution: Solution, freedom: str, square_soft: bool) -> Solution:
    """A placement with its soft macros where a freedom has them: "forces" places them, otherwise they stay."""
    if freedom != "forces" or not chip.has_soft:
        return solution
    given = all_nodes(chip, *(np.asarray(solution[key]) for key in ("x", "y", "orientation")))
    return with_soft_of(chip, solution, settle_soft(chip.netlist, chip.canvas, given, square_soft))


def with_soft_of(chip: Chip, solution: Solution, placement: Placement) -> Solution:
    """A solution with its soft macros where a placement has them."""
    rows = chip.macros
    soft = chip.netlist.kind[rows] == SOFT
    return {key: np.where(soft, getattr(placement, key)[rows], solution[key]) for key in ("x", "y", "orientation")}


def check_clustered(chip: Chip, objective: str) -> None:
    """UsageError where the proxy is asked for a netlist with standard cells, which nobody places."""
    cells = int((chip.netlist.kind == CELL).sum())
    if cells and objective == "proxy":
        raise UsageError(
            f"{chip.name} holds {cells} standard cells, which the proxy cost wants in clusters; cluster them with "
            '`sysgym group`, or use objective="hpwl" (mode="hpwl"), which looks at macros alone.'
        )


def judge_chip(chip: Chip, solution: Solution, rules: Rules) -> Verdict:
    """Judge a macro placement; cost = the weighted proxy, or the wirelength between hard macros (`hpwl`).

    Metrics: `wirelength` (microns, weighted half perimeters), `wirelength_cost`, `density_cost`, `congestion_cost`,
    `proxy`; `hpwl`, macro-only; `overlaps`, pairs of hard macros (or a macro and a blockage) that overlap,
    `overlap_area`, `outside`, macros that leave the canvas, `moved`, fixed macros that were moved: they are judged
    where they belong; `canvas_guessed`, 1, only where no file says how large the canvas is or which grid it has.
    `excess` is 0 for a legal placement, else the overlap area over the area of the hard macros plus WORSE, so that
    with the usual weights no legal placement is paid less.
    """
    check_clustered(chip, rules.objective)
    netlist, start, canvas = chip.netlist, chip.placement, rules.canvas(chip.canvas)
    given = [np.asarray(solution[key]) for key in ("x", "y", "orientation")]
    fixed = start.fixed[chip.macros]
    true = [values[chip.macros] for values in (start.x, start.y, start.orientation)]
    near = MOVED * (canvas.width + canvas.height)
    moved = int((fixed & ((abs(given[0] - true[0]) > near) | (abs(given[1] - true[1]) > near)
                          | (given[2] != true[2]))).sum())  # fmt: skip
    arrays = [np.where(fixed, old, new) for old, new in zip(true, given, strict=True)]
    placement = all_nodes(chip, *arrays)
    found = proxy_cost(netlist, canvas, placement, rules.square_soft)
    hpwl = macro_hpwl(wire(chip).nets, *arrays)
    faults = find_faults(netlist, canvas, placement, rules.square_soft)
    sentences = list(faults.sentences(soft=rules.objective == "proxy"))
    if moved:
        sentences.append(f"{moved} fixed macros were moved")
    total = float((netlist.width * netlist.height)[netlist.kind == HARD].sum())
    proxy = found.proxy(rules.weights)
    metrics = {
        "wirelength": found.wirelength, "wirelength_cost": found.wirelength_cost,
        "density_cost": found.density_cost, "congestion_cost": found.congestion_cost, "proxy": proxy,
        "hpwl": hpwl, "overlaps": float(faults.overlaps), "overlap_area": faults.area,
        "outside": float(faults.hard_outside + faults.soft_outside), "moved": float(moved),
        "excess": WORSE[rules.objective] + faults.area / max(total, 1e-9) if sentences else 0.0,
    }  # fmt: skip
    if canvas.guessed:
        metrics["canvas_guessed"] = 1.0
    return Verdict(not sentences, float(proxy if rules.objective == "proxy" else hpwl), metrics, tuple(sentences))
