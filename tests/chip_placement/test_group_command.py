"""`sysgym group`: a full netlist becomes the clustered one that chip placement reads."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from public import CHIP, needs_chip

from sysgym import make_problem
from sysgym.chip_placement.formats.netlist import CELL, PORT, SOFT, read_netlist
from sysgym.chip_placement.formats.netlist_writer import format_netlist
from sysgym.chip_placement.grouping import rules as grouping
from sysgym.core.errors import Notice

Inline = Callable[..., Any]
NAME, SIDE = "ariane133_NanGate45", "1433.405978506462"
needs_partitioner = pytest.mark.skipif(importlib.util.find_spec("mtkahypar") is None, reason="mtkahypar is not here")
NODES = {  # name: type, sinks, other attributes
    "P": ("port", ("S0", "M/in"), {"x": 0.0, "y": 50.0}),
    "M": ("macro", (), {"width": 30.0, "height": 20.0, "x": 60.0, "y": 50.0}),
    "M/in": ("macro_pin", (), {"macro_name": "M", "x_offset": 1.0}),
    "M/out": ("macro_pin", ("S3",), {"macro_name": "M", "x_offset": 2.0}),
    "S0": ("stdcell", ("S1",), {"width": 4.0, "height": 2.0, "x": 10.0, "y": 10.0}),
    "S1": ("stdcell", ("S2",), {"width": 4.0, "height": 2.0, "x": 12.0, "y": 10.0}),
    "S2": ("stdcell", ("S3", "M/in"), {"width": 4.0, "height": 2.0, "x": 80.0, "y": 80.0}),
    "S3": ("stdcell", ("P",), {"width": 4.0, "height": 2.0, "x": 82.0, "y": 80.0}),
}
CANVAS = ("--width", "100", "--height", "100", "--columns", "10")


def text(nodes: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]]) -> str:
    """Nodes as a netlist file."""
    lines = []
    for name, (kind, sinks, values) in nodes.items():
        lines += ["node {", f'  name: "{name}"', *(f'  input: "{sink}"' for sink in sinks)]
        for key, value in {"type": kind, **values}.items():
            shown = f'placeholder: "{value}"' if isinstance(value, str) else f"f: {value}"
            lines += ["  attr {", f'    key: "{key}"', "    value {", f"      {shown}", "    }", "  }"]
        lines.append("}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A netlist of four cells, its groups, and a placement file whose nodes are of another netlist."""
    (tmp_path / "full.pb.txt").write_text(text(NODES))
    (tmp_path / "full.groups").write_text("-1\n-1\n-1\n-1\n5\n5\n7\n7\n")
    (tmp_path / "other.plc").write_text("# Columns : 10  Rows : 10\n# Width : 100  Height : 100\n99 1 1 - 0\n")
    return tmp_path


def test_cells_become_soft_macros(inline: Inline, files: Path) -> None:
    printed = inline("group", "full.pb.txt", "-o", "out.pb.txt", *CANVAS, "--groups", "full.groups").stdout
    assert printed.splitlines()[0] == "out.pb.txt" and "cells        4 -> 0" in printed
    found = read_netlist("out.pb.txt")
    assert (found.kind == SOFT).sum() == 2 and not (found.kind == CELL).any()
    assert [found.names[i] for i in (found.kind == SOFT).nonzero()[0]] == ["Grp_5", "Grp_7"]
    inline("group", "full.pb.txt", "-o", "out.pb.txt.gz", "--plc", "other.plc", "--groups", "full.groups")
    assert gzip.decompress((files / "out.pb.txt.gz").read_bytes()) == (files / "out.pb.txt").read_bytes()
    with pytest.warns(Notice, match="guessed"):
        assert len(make_problem("ChipPlacement").load("out.pb.txt.gz").macros) == 3


def test_the_canvas_goes_with_the_clusters(inline: Inline, files: Path) -> None:
    """What `--write-plc` writes lets `solve` and `render` take the file as it is."""
    full, made = str(files / "full.pb.txt"), files / "netlist.pb.txt"
    inline("group", full, "-o", str(made), *CANVAS, "--groups", str(files / "full.groups"), "--write-plc",
           str(files / "initial.plc"))  # fmt: skip
    chip = make_problem("ChipPlacement").load(str(made))
    assert (chip.canvas.width, chip.canvas.columns, chip.canvas.rows) == (100.0, 10, 10)
    port = int(np.flatnonzero(chip.netlist.kind == PORT)[0])
    assert (chip.placement.x[port], chip.placement.y[port], bool(chip.placement.fixed[port])) == (0.0, 50.0, True)
    said = inline("solve", str(made), "-p", "ChipPlacement", "-a", "spiral", "-o", str(files / "done.plc"))
    assert "feasible" in said.stdout and (files / "done.plc").is_file()
    refused = inline("group", full, "-o", str(made), *CANVAS, "--write-plc", str(files / "a.txt"), code=2)
    assert "use a name that ends in .plc" in refused.stderr


def test_a_partition_is_broken_up_and_merged(inline: Inline, files: Path) -> None:
    """By the stages that `test_grouping` compares with published files: here only the words of the command."""
    full = read_netlist(files / "full.pb.txt")
    fixed = grouping.fixed_groups(full, 100.0, 100.0, 10, 10)
    partition = np.where(fixed >= 0, fixed, fixed.max() + 1 + np.arange(len(fixed)) % 2)
    (files / "full.part").write_text("".join(f"{part}\n" for part in partition))
    inline("group", "full.pb.txt", "-o", "out.pb.txt", *CANVAS, "--rows", "10", "--partition", "full.part")
    wanted = grouping.group_cells(full, 100.0, 100.0, 10, 10, partition=partition)
    assert (files / "out.pb.txt").read_text() == format_netlist(wanted) and (wanted.kind == SOFT).sum() >= 1


@needs_partitioner
def test_groups_are_found_without_files(inline: Inline, files: Path) -> None:
    words = ("group", "full.pb.txt", *CANVAS, "--free-groups", "2", "--json")
    row = json.loads(inline(*words, "-o", "one.pb.txt").stdout)
    assert row["cells_before"] == 4 and row["cells_after"] == 0 and row["soft_macros"] >= 1
    inline(*words, "-o", "two.pb.txt")
    assert (files / "one.pb.txt").read_bytes() == (files / "two.pb.txt").read_bytes()


def test_without_the_partitioner(inline: Inline, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = grouping._mtkahypar
    monkeypatch.setattr(grouping, "_mtkahypar", kept.__wrapped__)  # it remembers a package that is there
    monkeypatch.setitem(sys.modules, "mtkahypar", None)
    said = inline("group", "full.pb.txt", "-o", "out.pb.txt", *CANVAS, code=4).stderr
    assert said.startswith("sysgym: grouping cells without a given partition needs mtkahypar: pip install")
    assert len(said.splitlines()) == 1 and not (files / "out.pb.txt").exists()


@needs_chip
@pytest.mark.parametrize("given", ["groups", pytest.param("partition", marks=pytest.mark.slow)])
def test_the_published_files_give_the_published_netlist(given: str, inline: Inline, tmp_path: Path) -> None:
    full = CHIP / "full" / NAME
    file = f"{full}.groups.final.gz" if given == "groups" else f"{full}.metis_input.part.647.gz"
    canvas = ("--width", SIDE, "--height", SIDE, "--columns", "24", "--rows", "21")
    row = json.loads(
        inline("group", f"{full}.pb.txt.gz", "-o", "out.pb.txt.gz", *canvas, f"--{given}", file, "--json").stdout
    )
    published = gzip.decompress((CHIP / "ct" / NAME / "netlist.pb.txt.gz").read_bytes())
    assert gzip.decompress((tmp_path / "out.pb.txt.gz").read_bytes()) == published
    assert (row["nodes_before"], row["nodes_after"], row["soft_macros"], row["hard_macros"]) == (96886, 19887, 782, 133)
