"""Chip macro placement as a sysgym problem."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from sysgym.core.defaults import complete
from sysgym.core.errors import InvalidSolution, UsageError, reading
from sysgym.core.instances import InstanceSet, find_entry, load_index
from sysgym.core.options import Range
from sysgym.core.problem import Array, ArraySpec, Freedom, Size, Solution, Verdict
from sysgym.core.solutions import check_arrays

if TYPE_CHECKING:
    from sysgym.chip_placement.formats.lefdef.build import Reading
    from sysgym.chip_placement.instance import Chip
    from sysgym.chip_placement.judge import Rules


FORCES = Freedom("hard macros; the judge places the soft ones by forces, wherever they are given", "sa-placer")
FREE = Freedom("hard and soft macros, all as they are given", "sa-placer, freed")
HARD = Freedom("hard macros alone; soft ones do not count")


@complete
class ChipPlacement:
    """Place the macros of a chip: short wires, no crowded spots, room for routing.

    Description: the problem of "Chip Placement with Deep Reinforcement Learning" (Mirhoseini et al., arXiv 2004.10746)
    with the public proxy cost of Circuit Training and TILOS' MacroPlacement: wirelength cost + 0.5 density cost + 0.5
    congestion cost, all exact to the recorded figures (metric `proxy`). Placements are ranked by it with the worst
    congestion that they may have by the rounding of a file (`congestion_bound`). `objective="hpwl"` is the macro-only
    wirelength of MaskPlace and WireMask-BBO instead. A placement is feasible if no two hard macros overlap by more than
    a unit of the sixth digit of the canvas, none stands on a blockage, all are inside the canvas, and fixed ones stay.
    Solution: `x`, `y` (microns, centres) and `orientation` (0 to 7: N, FN, S, FS, E, FE, W, FW) of all hard and soft
    macros in the order of the netlist, or a `.plc` file (`.pl` for bookshelf, `.def` and `.tcl` for
    DEF). Instances: Circuit Training's
    `netlist.pb.txt`, a folder with one and its `initial.plc`, such as an ICCAD04 circuit of MacroPlacement, bookshelf,
    DEF with LEF, GSRC/MCNC floorplans.

    Options:
        mode: "sequential" (macro by macro on cells, soft macros by forces at the end), "hpwl" (macro by macro, dense
            reward, wire mask), "refine" (moves on a complete placement) or "oneshot" (all at once).
        objective: "proxy" or "hpwl"; default "proxy", in mode "hpwl" it is "hpwl".
        wirelength_weight, density_weight, congestion_weight: of the parts of the proxy.
        plc: file with canvas and fixed positions for a netlist; default `initial.plc` beside it.
        lef: the LEF files of a DEF, with commas or again for each.
        canvas: of a DEF: its "die", or its "core", the box of its rows.
        missing_masters: components of a DEF that no LEF defines: "refuse" them, or take them as "cells" without a size.
        template: the DEF that a clustered netlist was made of: `.def` and `.tcl` files are written and read with it.
        write_fixed: a DEF is written with its macros FIXED; false: PLACED, as they were.
        keep_fixed: macros that a bookshelf `.pl` marks `/FIXED` stay where they are; false: they are placed as well.
        square_soft: soft macros are squares of their area (Circuit Training), also where they must not stick out of the
            canvas; false: the rectangles of the file.
        congestion_grid: "legacy" (the grid for placing) or "auto" (cells of a thousand routes a side).
        clamp_pins: pins outside the canvas count in the cells at its border; false: their nets are not routed.
        smoothing: cells over which routes are spread; default as the canvas says.
        grid: cells along the longer side of the canvas; default as the canvas says.
        spacing: microns between macros in the masks of `sequential` and `oneshot` and for placers, except those that
            put macros on whole cells (`hpwl`, `wiremask`); none: what the halos of a DEF ask for.
        order: in which macros are placed: area, nets (WireMask), connected (most links to those before), netlist,
            random; default "area", in mode "hpwl" "nets".
        orient: `sequential` chooses among N, FN, S, FS too.
        soft: "force" (placed by forces at the end of an episode) or "keep" (as in the instance).
        start: where `refine` starts: macros packed along a "spiral" or on "random" cells.
        steps: moves in an episode of `refine`; default 20 a hard macro.
        generator: recipe of `generate`, such as "tiles:rows=4,columns=4" (a seed is drawn).

    Observation: nodes are the macros, then clusters of ports. Features: width, height (of the half perimeter of the
    canvas), hard, soft, port, degree (of the mean), then what the mode shows: x, y (-1 to 1), placed, mirror_x,
    mirror_y, current; in mode "hpwl" x, y, width, height, placed, current (over the canvas). Unplaced macros stand
    where forces alone put them. `sequential` describes each cell to the current macro by x, y (-1 to 1), wire (length
    of its nets there beyond the shortest, over a fifth of their weight times the half perimeter), border (distance
    over a quarter of the shorter side), near, around (-1 to 1, how full the first and the first three cells around it
    are; outside counts as full), mirror_x, mirror_y; "hpwl" by wire, column, row. Actions on cells are
    row * columns + column of the instance's own grid.

    Rewards: see `sysgym.core.rewards`. The scale is 1 for the proxy (0.1 in `refine`), for hpwl a twentieth of the
    canvas' half perimeter times the weight of the nets. The running cost of `sequential` is 0 until the end.
    Version history: v0, first release. Before it: placements are judged at the resolution of files since 2026-11-28,
    with a tolerance of one unit and the worst congestion within it.
    """

    name = "ChipPlacement"
    version = 0
    variants = (
        {"mode": "sequential"}, {"mode": "sequential", "orient": True}, {"mode": "hpwl"}, {"mode": "refine"},
        {"mode": "oneshot"},
    )  # fmt: skip
    recommended_agent = "analytic"
    default_instances = "tiles/train"
    choice_names = ("rows of its grid", "columns of its grid")

    mode: Literal["sequential", "hpwl", "refine", "oneshot"] = "sequential"
    objective: Literal["proxy", "hpwl"] | None = None
    wirelength_weight: Annotated[float, Range(0, 1e6)] = 1.0
    density_weight: Annotated[float, Range(0, 1e6)] = 0.5
    congestion_weight: Annotated[float, Range(0, 1e6)] = 0.5
    plc: str | None = None
    lef: tuple[str, ...] = ()
    canvas: Literal["die", "core"] = "die"
    missing_masters: Literal["refuse", "cells"] = "refuse"
    template: str | None = None
    write_fixed: bool = False
    keep_fixed: bool = False
    square_soft: bool = True
    congestion_grid: Literal["legacy", "auto"] = "legacy"
    clamp_pins: bool = False
    smoothing: Annotated[int | None, Range(0, 100)] = None
    grid: Annotated[int | None, Range(1, 1024)] = None
    spacing: Annotated[float | None, Range(0, 1e6)] = None
    order: Literal["area", "nets", "connected", "netlist", "random"] | None = None
    orient: bool = False
    soft: Literal["force", "keep"] = "force"
    start: Literal["spiral", "random"] = "spiral"
    steps: Annotated[int | None, Range(1, 10**8)] = None
    generator: str = "tiles:rows=3,columns=3"

    def __post_init__(self) -> None:
        if self.mode == "hpwl" and self.objective == "proxy":
            raise UsageError("mode 'hpwl' pays for wirelength between macros; use objective='hpwl', or another mode.")

    @property
    def pays_for(self) -> Literal["proxy", "hpwl"]:
        """The objective in force: `proxy` or `hpwl`."""
        return self.objective or ("hpwl" if self.mode == "hpwl" else "proxy")

    @property
    def weights(self) -> tuple[float, float, float]:
        """Of wirelength cost, density cost and congestion cost in the proxy."""
        return self.wirelength_weight, self.density_weight, self.congestion_weight

    @cached_property
    def rules(self) -> Rules:
        """What a placement costs."""
        from sysgym.chip_placement.judge import Rules

        automatic = self.congestion_grid == "auto"
        return Rules(self.pays_for, self.weights, self.square_soft, automatic, self.smoothing, self.clamp_pins)

    @cached_property
    def dynamics(self) -> Any:
        """The dynamics of the chosen mode (imports numba)."""
        from sysgym.chip_placement.modes.oneshot import OneShot
        from sysgym.chip_placement.modes.refine import Refine
        from sysgym.chip_placement.modes.sequence import Sequential
        from sysgym.chip_placement.modes.wiremask import WireMaskMode

        if self.mode == "hpwl":
            return WireMaskMode(self.order or "nets")
        if self.mode == "refine":
            return Refine(self.judge, self.rules, self.start, self.steps)
        kind = OneShot if self.mode == "oneshot" else Sequential
        orientations = 4 if self.orient and self.mode == "sequential" else 1
        return kind(self.judge, self.rules, self.order or "area", self.spacing, orientations, self.soft)

    def load(self, name: str) -> Chip:
        """A chip by registered name, recipe or file; UsageError if it cannot be had or is malformed."""
        from sysgym.chip_placement.formats.design import is_def
        from sysgym.chip_placement.load import load_chip, with_template

        if self.template is None:
            chip = load_chip(name, self.plc, self.grid, self.keep_fixed, self.reading)
        elif is_def(Path(name)):
            raise UsageError(f"{name} is a DEF, which is written back into itself; leave -O template out.")
        else:
            chip = with_template(load_chip(name, self.plc, self.grid, self.keep_fixed), self.template, self.reading)
        if self.write_fixed and chip.source is None:
            raise UsageError(f"option write_fixed goes with a DEF; {name} is none, so leave it out.")
        return chip

    @property
    def reading(self) -> Reading:
        """How a DEF is read."""
        from sysgym.chip_placement.formats.lefdef.build import Reading

        return Reading(self.lef, self.canvas, self.missing_masters)

    def spacing_of(self, instance: Chip) -> float:
        """Microns that placers keep between hard macros: `spacing`, or what the halos of the chip ask for."""
        return instance.gap if self.spacing is None else self.spacing

    @staticmethod
    def reads(name: str, head: bytes) -> bool:
        """Whether this is a recipe of a chip, or a design file by its ending and first bytes."""
        from sysgym.chip_placement.load import is_design

        return is_design(name, head)

    def generate(self, rng: np.random.Generator) -> Chip:
        """A random chip of the `generator` family."""
        from sysgym.chip_placement.generate import generate_chip

        joint = "," if ":" in self.generator else ":"
        return generate_chip(f"{self.generator}{joint}seed={int(rng.integers(2**31))}")

    def instance_sets(self) -> Mapping[str, InstanceSet]:
        """Registered sets of chips by name."""
        return load_index("chip")

    def size(self, instance: Chip) -> Size:
        """Rows and directed links of the graph, and the grid."""
        graph = instance.graph
        return Size(len(graph.nodes), len(graph.edges), (instance.canvas.rows, instance.canvas.columns))

    def static(self, instance: Chip) -> Mapping[str, Array]:
        """Features that never change: nodes (n, 6), edges (2e, 1), edge_index (2, 2e)."""
        graph = instance.graph
        return {"nodes": graph.nodes, "edges": graph.edges, "edge_index": graph.edge_index}

    def solution_arrays(self, instance: Chip) -> Mapping[str, ArraySpec]:
        """`x`, `y` in microns and `orientation` of all macros, in the order of the netlist."""
        many, far = (len(instance.macros),), 10 * (instance.canvas.width + instance.canvas.height)
        return {
            "x": ArraySpec(many, "float", -far, far, "centres of the macros, microns"),
            "y": ArraySpec(many, "float", -far, far, "centres of the macros, microns"),
            "orientation": ArraySpec(many, "int", 0, 7, "N, FN, S, FS, E, FE, W, FW"),
        }

    def canonical(self, instance: Chip, solution: Solution) -> Solution:
        """The placement as it is judged: six significant digits, or whole database units (see `judge_chip`).

        Where soft macros do not count, they stand where they were at first.
        """
        from sysgym.chip_placement.judge import as_judged, with_soft_of

        if self.pays_for == "hpwl":
            solution = with_soft_of(instance, solution, instance.placement)
        return as_judged(instance, solution, self.square_soft)

    @property
    def published(self) -> tuple[Mapping[str, str], ...]:
        """Public costs of the ICCAD04 circuits."""
        from sysgym.chip_placement.iccad04 import figures

        return figures()

    @property
    def freedoms(self) -> Mapping[str, Freedom]:
        """How soft macros are placed where they count: by forces, or freely."""
        return {"hard": HARD} if self.pays_for == "hpwl" else {"forces": FORCES, "free": FREE}

    def restrict(self, instance: Chip, solution: Solution, freedom: str) -> Solution:
        """The placement with its soft macros as a freedom has them; InvalidSolution if it is none."""
        from sysgym.chip_placement.judge import as_freedom

        checked = check_arrays(self.solution_arrays(instance), solution)
        return as_freedom(instance, checked, freedom, self.square_soft)

    def judge(self, instance: Chip, solution: Solution) -> Verdict:
        """Cost, feasibility and metrics of a placement; InvalidSolution if it is none. See `judge_chip`."""
        from sysgym.chip_placement.judge import judge_chip

        return judge_chip(instance, check_arrays(self.solution_arrays(instance), solution), self.rules)

    def reference_costs(self, instance: Chip) -> Mapping[str, float]:
        """Known costs, `who -> cost`, for the objective in force with its usual choices; empty with others.

        Of ICCAD04 circuits that the user has, the public ones, also with the rectangles of soft macros.
        """
        entry = find_entry(self.instance_sets(), instance.name)
        usual = (
            self.rules == type(self)(objective=self.pays_for).rules
            and self.plc is None
            and self.grid is None
            and not self.keep_fixed
        )
        if self.pays_for == "hpwl":
            usual = self.plc is None and not self.keep_fixed
        if entry is None and self.pays_for == "proxy" and self.grid is None:
            from sysgym.chip_placement.iccad04 import public_costs

            # both shapes of soft macros: they make 0.3 % there, and the columns differ in them too
            alike = {
                type(self)(objective="proxy", square_soft=shape, clamp_pins=clamped).rules
                for shape in (True, False) for clamped in (True, False)
            }  # fmt: skip
            return public_costs(instance) if self.rules in alike else {}
        return entry.references.get(f"objective={self.pays_for}", {}) if entry and usual else {}

    def parse_solution(self, instance: Chip, data: bytes, file_name: str) -> Solution:
        """A `.plc` placement, a bookshelf `.pl` or a DEF; may be gzipped. All macros must be placed."""
        from sysgym.chip_placement.formats.bookshelf import parse_pl
        from sysgym.chip_placement.formats.plc import parse_plc
        from sysgym.chip_placement.placed import parse_def_solution
        from sysgym.core.data import as_text, decompress

        content = decompress(file_name, data)
        if file_name.lower().removesuffix(".gz").endswith(".def"):
            return parse_def_solution(instance, content, file_name, self.square_soft)
        with reading(file_name, InvalidSolution):
            text = as_text(file_name, content)
            if file_name.removesuffix(".gz").endswith(".pl"):
                placement = parse_pl(text, instance.netlist, instance.canvas, file_name)
            else:
                placement = parse_plc(text, instance.netlist, file_name)[1]
        rows = instance.macros
        missing = int((~placement.placed[rows]).sum())
        if missing:
            raise InvalidSolution(f"{missing} of {len(rows)} macros have no place in it; a solution places all.")
        return {"x": placement.x[rows], "y": placement.y[rows], "orientation": placement.orientation[rows]}

    def solution_endings(self, instance: Chip) -> tuple[str, ...]:
        """`.plc`, `.pl` of a design in bookshelf files, `.def` and `.tcl` of one in a DEF."""
        bookshelf = () if instance.placement.marks is None else (".pl",)
        return (".plc", *bookshelf, *(() if instance.source is None else (".def", ".tcl")))

    def format_solution(self, instance: Chip, solution: Solution, file_name: str) -> bytes:
        """The placement as a `.plc` file with the canvas, a bookshelf `.pl`, the DEF of the chip, or Tcl for OpenROAD.

        UsageError for a DEF or Tcl that cannot be; see `sysgym.chip_placement.formats.lefdef.write`.
        """
        from sysgym.chip_placement.formats.bookshelf import format_pl
        from sysgym.chip_placement.formats.plc import format_plc
        from sysgym.chip_placement.judge import all_nodes, faults_of
        from sysgym.chip_placement.placed import format_def_solution, writes

        if writes(file_name):
            content, written = format_def_solution(instance, solution, file_name, self.write_fixed)
            before, said = (faults_of(instance, each, self.square_soft) for each in (solution, written))
            if said and not before:
                raise UsageError(
                    f"on the grid of {file_name}, which is that of manufacturing, the solution is not legal any more: "
                    f"{said[0]}; nothing is written: give -O spacing=MICRONS to keep macros apart."
                )
            return content
        placement = all_nodes(instance, *(np.asarray(solution[key]) for key in ("x", "y", "orientation")))
        write = format_pl if file_name.endswith(".pl") else format_plc
        return write(instance.netlist, instance.canvas, placement).encode()

    def render(self, instance: Chip, solution: Solution) -> Array:
        """Macros, soft macros, ports and nets, beside maps of density and congestion, (H, W, 3) uint8."""
        from sysgym.chip_placement.render import draw

        return draw(instance, solution, self.rules, self.judge(instance, solution))

    def frames(self, instance: Chip, solution: Solution) -> list[Array]:
        """The placement as it grows, for an animation, (H, W, 3) uint8 each; the last frame is the whole."""
        from sysgym.chip_placement.render import frames

        return frames(instance, solution, self.rules, self.judge(instance, solution))

    def describe(self, instance: Chip, solution: Solution) -> str:
        """Costs, legality and a coarse map of the macros as text."""
        from sysgym.chip_placement.render import describe

        return describe(instance, solution, self.rules, self.judge(instance, solution))
