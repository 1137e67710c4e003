"""Instances of chip placement: a netlist, the canvas that it goes on, and where its ports and fixed macros are."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sysgym.chip_placement.formats.lefdef.source import Source
from sysgym.chip_placement.formats.netlist import HARD, SOFT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.geometry.force import place_all
from sysgym.chip_placement.graph import Bodies, Graph, make_bodies, make_graph
from sysgym.core.problem import Array


@dataclass(frozen=True, repr=False)
class Chip:
    """What is to be placed, and where.

    `placement` holds the positions of ports and of fixed macros; those of other macros are only a start.
    """

    name: str
    netlist: Netlist
    canvas: Canvas
    placement: Placement
    source: Source | None = field(default=None, compare=False, metadata={"hashed": False})  # the DEF to write it into

    def __repr__(self) -> str:
        """One line."""
        canvas = self.canvas
        size = f"{canvas.width:g} x {canvas.height:g}, {canvas.columns} x {canvas.rows} cells"
        return f"<Chip {self.name}: {len(self.macros)} macros, canvas {size}>"

    @cached_property
    def macros(self) -> Array:
        """Nodes of hard and soft macros in the order of the file, (m,) int64: the rows of a solution."""
        return self.netlist.macros

    @cached_property
    def movable(self) -> Array:
        """Nodes of hard macros that are not fixed, in the order of the file, int64."""
        return np.flatnonzero((self.netlist.kind == HARD) & ~self.placement.fixed)

    @property
    def gap(self) -> float:
        """Microns that placers leave between hard macros where nobody says how many, as the halos of a DEF ask."""
        return 0.0 if self.source is None else self.source.gap

    @cached_property
    def bodies(self) -> Bodies:
        """Macros and ports as plain arrays."""
        return make_bodies(self.netlist, self.placement)

    @cached_property
    def graph(self) -> Graph:
        """Rows and links of the observation."""
        return make_graph(self.netlist, self.canvas, self.placement)

    @cached_property
    def layout(self) -> Placement:
        """Where forces alone put all macros, overlaps and all: a first guess that agents see."""
        return place_all(self.netlist, self.canvas, self.placement)

    @cached_property
    def has_soft(self) -> bool:
        """Whether there are soft macros, which a force-directed placer can place."""
        return bool((self.netlist.kind == SOFT).any())
