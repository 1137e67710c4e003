"""The only definition of cost and validity of a macro placement."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sysgym.chip_placement.cost import both_costs
from sysgym.chip_placement.formats.netlist import CELL, HARD, SOFT
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.geometry.force import settle_soft
from sysgym.chip_placement.geometry.legal import examine, find_faults
from sysgym.chip_placement.geometry.resolution import canonical_macros
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
    clamp_pins: bool = False  # pins outside the canvas count in the cells at the border

    def canvas(self, canvas: Canvas) -> Canvas:
        """The canvas with these choices."""
        if self.automatic_grid:
            canvas = canvas.automatic_congestion()
        if self.clamp_pins:
            canvas = replace(canvas, clamp_pins=True)
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


def as_judged(chip: Chip, solution: Solution, square_soft: bool) -> Solution:
    """A placement as `judge_chip` sees it: movable macros as files hold them, fixed ones where they belong if near."""
    given = [np.asarray(solution[key]) for key in ("x", "y", "orientation")]
    rows, start = chip.macros, chip.placement
    placed = canonical_macros(chip.netlist, chip.canvas, start.fixed, (given[0], given[1], given[2]), square_soft)
    near = MOVED * (chip.canvas.width + chip.canvas.height)
    found = {}
    for key, here in zip(("x", "y"), placed, strict=True):
        there = getattr(start, key)[rows]
        found[key] = np.where(start.fixed[rows] & (abs(here - there) <= near), there, here) + 0.0
    return {**solution, **found}


def faults_of(chip: Chip, solution: Solution, square_soft: bool) -> tuple[str, ...]:
    """What keeps a placement from being legal, as `judge_chip` sees it; without what it costs."""
    seen = as_judged(chip, solution, square_soft)
    placement = all_nodes(chip, *(np.asarray(seen[key]) for key in ("x", "y", "orientation")))
    return find_faults(chip.netlist, chip.canvas, placement, square_soft).sentences()


def check_clustered(chip: Chip, objective: str) -> None:
    """UsageError where the proxy is asked for a netlist with standard cells, which nobody places."""
    cells = int((chip.netlist.kind == CELL).sum())
    if cells and objective == "proxy":
        raise UsageError(
            f"{chip.name} holds {cells} standard cells, which the proxy cost wants in clusters; cluster them with "
            '`sysgym group`, or use objective="hpwl" (mode="hpwl"), which looks at macros alone.'
        )


def judge_chip(chip: Chip, solution: Solution, rules: Rules) -> Verdict:
    """Judge a macro placement; cost = the ranked proxy, or the wirelength between hard macros (`hpwl`).

    Movable macros are judged where six significant digits (or database units, where the canvas has them) put them, so
    that a solution and the file that is written of it have the same verdict. The ranked proxy takes the larger one of
    `congestion_cost` and `congestion_bound`, which no rounding of the placement exceeds (`cost.py`).

    Metrics: `wirelength` (microns, weighted half perimeters), `wirelength_cost`, `density_cost`, `congestion_cost`,
    `congestion_bound`, `proxy`, the exact public figure; `hpwl`, macro-only; `overlaps`, pairs of hard macros (or a
    macro and a blockage) that overlap by more than a unit of the sixth digit, `overlap_area`, `outside`, macros that
    leave the canvas by more than that, `penetration`, microns, the deepest overlap or farthest way out, however small,
    `strict`, 1 if no hard macros overlap at all, neither in float64 nor in float32; `moved`, fixed macros that were
    moved: they are judged where they belong; `canvas_guessed`, 1, only where no file says how large the canvas is or
    which grid it has.
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
    arrays[:2] = canonical_macros(netlist, canvas, start.fixed, (arrays[0], arrays[1], arrays[2]), rules.square_soft)
    placement = all_nodes(chip, *arrays)
    found, bounded = both_costs(netlist, canvas, placement, rules.square_soft)
    hpwl = macro_hpwl(wire(chip).nets, *arrays)
    faults, penetration, strict = examine(netlist, canvas, placement, rules.square_soft)
    sentences = list(faults.sentences(soft=rules.objective == "proxy"))
    if moved:
        sentences.append(f"{moved} fixed macros were moved")
    total = float((netlist.width * netlist.height)[netlist.kind == HARD].sum())
    cost = bounded.proxy(rules.weights) if rules.objective == "proxy" else hpwl
    metrics = {
        "wirelength": found.wirelength, "wirelength_cost": found.wirelength_cost,
        "density_cost": found.density_cost, "congestion_cost": found.congestion_cost,
        "congestion_bound": bounded.congestion_cost, "proxy": found.proxy(rules.weights),
        "hpwl": hpwl, "overlaps": float(faults.overlaps), "overlap_area": faults.area,
        "outside": float(faults.hard_outside + faults.soft_outside),
        "penetration": penetration, "strict": float(strict), "moved": float(moved),
        "excess": WORSE[rules.objective] + faults.area / max(total, 1e-9) if sentences else 0.0,
    }  # fmt: skip
    if canvas.guessed:
        metrics["canvas_guessed"] = 1.0
    return Verdict(not sentences, float(cost), metrics, tuple(sentences))
