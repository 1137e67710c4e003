"""`sysgym group`: the standard cells of a chip become soft macros."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sysgym_zoo.cli.app import AsJson, Seed


def group(
    netlist: Annotated[
        Path, typer.Argument(help="A full netlist with standard cells: .pb.txt, .def, or a bookshelf file.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Clustered netlist to write, .pb.txt or .pb.txt.gz.")],
    width: Annotated[float | None, typer.Option(help="Width of the canvas in microns.")] = None,
    height: Annotated[float | None, typer.Option(help="Height of the canvas in microns.")] = None,
    columns: Annotated[int | None, typer.Option(help="Columns of its grid.")] = None,
    rows: Annotated[int | None, typer.Option(help="Rows of its grid; default: about square cells.")] = None,
    lef: Annotated[list[str] | None, typer.Option(help="LEF file of a DEF; again for each.")] = None,
    missing_masters: Annotated[
        Literal["refuse", "cells"],
        typer.Option(
            help="Components of a DEF that no LEF defines: refuse them, or take them as cells without a size."
        ),
    ] = "refuse",
    plc: Annotated[Path | None, typer.Option(help="Placement file that names the canvas instead.")] = None,
    groups: Annotated[Path | None, typer.Option(help="The group of every node, one a line, to be used as is.")] = None,
    partition: Annotated[
        Path | None,
        typer.Option(help="The part of every node, one a line, as hMETIS and Mt-KaHyPar write it."),
    ] = None,
    free_groups: Annotated[
        int,
        typer.Option(min=1, max=100_000, help="Groups besides those around macros and ports, where neither is given."),
    ] = 500,
    write_plc: Annotated[
        Path | None, typer.Option(help="Placement file to write too, such as initial.plc: canvas, ports, start.")
    ] = None,
    utilization: Annotated[float, typer.Option(help="Area of the cells of a soft macro over its own, to 1.")] = 0.5,
    unit: Annotated[
        float,
        typer.Option(help="Microns of one unit of the file, by which all its lengths are multiplied (ibm01: 0.01)."),
    ] = 1.0,
    merge_nets: Annotated[
        bool, typer.Option("--merge-nets", help="One net for all that a cell, port or pin drives, as .pb.txt needs.")
    ] = False,
    macros_from: Annotated[
        Path | None,
        typer.Option(help="Netlist whose hard macros and ports, by name, lend sizes and places (initial.plc beside)."),
    ] = None,
    place: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Place the cells by gradients around the hard macros, at most so long."),
    ] = None,
    place_macros: Annotated[
        bool, typer.Option("--place-macros", help="Place hard macros that are not fixed with the cells.")
    ] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Group the standard cells of a chip into soft macros, by Circuit Training's rules.

    Without --groups and --partition, Mt-KaHyPar finds the groups (pip install 'sysgym[partitioners]').
    """
    from sysgym.chip_placement.formats.lefdef.build import Reading
    from sysgym_zoo.jobs.console import number, show_json, tell
    from sysgym_zoo.tools.flat import Preparation
    from sysgym_zoo.tools.grouping import Grouping, Shape
    from sysgym_zoo.tools.grouping import group as run

    asked = Grouping(
        netlist=netlist, output=output, shape=Shape(width, height, columns, rows), plc=plc, groups=groups,
        reading=Reading(tuple(lef or ()), missing=missing_masters), partition=partition, free_groups=free_groups,
        seed=seed, placement=write_plc, utilization=utilization,
        first=Preparation(
            unit=unit, merge=merge_nets, macros=macros_from, seconds=place, move_macros=place_macros,
        ),
    )  # fmt: skip
    found = run(asked)
    if as_json:
        show_json("grouping", found)
        return
    tell(found["file"])
    for key in ("nodes", "nets", "cells"):
        tell(f"  {key:12} {number(found[f'{key}_before'])} -> {number(found[f'{key}_after'])}")
    for key in ("soft_macros", "hard_macros", "ports", "soft_pins", "soft_area", "net_weight"):
        tell(f"  {key.replace('_', ' '):12} {number(found[key])}")
