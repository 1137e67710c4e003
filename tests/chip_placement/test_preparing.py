"""What `sysgym group` does before it groups: units, one net a driver, places of macros, a flat placement."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from public import CHIP, needs_chip

from sysgym import UsageError, make_problem
from sysgym.chip_placement.formats.design import read_design
from sysgym.chip_placement.formats.netlist import CELL, HARD, PIN, PORT, SOFT, Netlist, read_netlist
from sysgym.chip_placement.formats.netlist_writer import format_netlist
from sysgym.chip_placement.formats.plc import netlist_placement, read_plc
from sysgym.chip_placement.geometry.wire import macro_hpwl, wire
from sysgym.chip_placement.grouping.prepare import at_one_point, merge_nets, scaled, with_macros_of

Inline = Callable[..., Any]
SIZES = {"P": (0, 0, "terminal"), "M": (300, 200), "L": (100, 200), **{f"c{i}": (20, 10) for i in range(8)}}
NETS = (
    "P O c0 I",
    "P O c1 I M I",
    "c0 O c2 I",
    "c0 O c3 I c2 I",
    "M O c4 I",
    "c4 O c5 I c6 I",
    "c6 O c7 I L I",
    "L O M I",
)
PLACES = {"P": (0, 500), "M": (100, 100), "L": (700, 600, "N", "/FIXED")}
CANVAS = ("--width", "10", "--height", "10", "--columns", "10")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A bookshelf design of 1,000 x 1,000 units whose cells all stand in its corner, and the groups of its nodes."""
    lines = ["UCLA nodes 1.0", *(" ".join([name, *map(str, size)]) for name, size in SIZES.items())]
    (tmp_path / "d.nodes").write_text("\n".join(lines) + "\n")
    nets = ["UCLA nets 1.0", f"NumPins : {sum(len(net.split()) // 2 for net in NETS)}"]
    for words in (net.split() for net in NETS):
        nets.append(f"NetDegree : {len(words) // 2}")
        nets += [f"{node} {way}" for node, way in zip(words[::2], words[1::2], strict=True)]
    (tmp_path / "d.nets").write_text("\n".join(nets) + "\n")
    places = {name: PLACES.get(name, (0, 0)) for name in SIZES}
    text = "".join(f"{name} {at[0]} {at[1]} : {' '.join(map(str, at[2:] or ('N',)))}\n" for name, at in places.items())
    (tmp_path / "d.pl").write_text("UCLA pl 1.0\n" + text)
    row = "CoreRow Horizontal\nCoordinate : {}\nHeight : 10\nSitewidth : 1\nSubrowOrigin : 0 NumSites : 1000\nEnd\n"
    (tmp_path / "d.scl").write_text("UCLA scl 1.0\n" + "".join(row.format(10 * i) for i in range(100)))
    netlist = read_design(tmp_path / "d.nodes")[1]
    numbers = [int(name[1:]) // 2 if netlist.kind[i] == CELL else -1 for i, name in enumerate(netlist.names)]
    (tmp_path / "d.groups").write_text("\n".join(map(str, numbers)) + "\n")
    return tmp_path


def flat(files: Path) -> Netlist:
    return read_design(files / "d.nodes")[1]


def nets_of(netlist: Netlist) -> list[list[str]]:
    return [[netlist.names[at] for at in netlist.pins[a:b]] for a, b in zip(netlist.ptr, netlist.ptr[1:], strict=False)]


def test_nets_of_one_driver_become_one(files: Path) -> None:
    netlist = flat(files)
    weighed = replace(netlist, weight=np.array([1, 3, 2, 1, 1, 1, 1, 1.0]))
    merged = merge_nets(weighed)
    assert nets_of(merged) == [
        ["P", "c0", "c1", "M.p0"], ["c0", "c2", "c3"], ["M.p1", "c4"], ["c4", "c5", "c6"], ["c6", "c7", "L.p0"],
        ["L.p1", "M.p2"],
    ]  # fmt: skip
    assert merged.weight.tolist() == [3, 2, 1, 1, 1, 1]  # the heaviest
    assert nets_of(merge_nets(merged)) == nets_of(merged)
    with pytest.raises(UsageError, match=r"nets driven by 'P'; .* keeps one net a driver, which `sysgym group --merge"):
        format_netlist(netlist)
    assert "c3" in format_netlist(merge_nets(netlist))


def test_pins_on_a_cell_drive_as_the_cell(files: Path) -> None:
    """Two pins of a cell, each with an offset of its own, are one driver; two of a macro are two."""
    text = (
        (files / "d.nets")
        .read_text()
        .replace("c0 O\nc2 I", "c0 O : 1 1\nc2 I")
        .replace("c0 O\nc3 I", "c0 O : 2 1\nc3 I")
    )
    (files / "d.nets").write_text(text)
    merged = merge_nets(flat(files))
    assert ["c0.p0", "c2", "c0.p1", "c3"] in nets_of(merged) and merged.nets == 6


def test_units_scale_every_length(files: Path) -> None:
    netlist = flat(files)
    small = scaled(netlist, 0.01)
    assert small.width[1] == 3.0 and small.x[1] == 2.5 and small.y[0] == 5.0
    chips = [make_problem("ChipPlacement", mode="hpwl", keep_fixed=True).load(str(files / "d.nodes"))]
    chips.append(replace(chips[0], netlist=scaled(chips[0].netlist, 0.01)))
    at = [netlist_placement(chip.netlist) for chip in chips]
    lengths = [macro_hpwl(wire(chip).nets, place.x[chip.macros], place.y[chip.macros], place.orientation[chip.macros])
               for chip, place in zip(chips, at, strict=True)]  # fmt: skip
    assert lengths[1] == pytest.approx(lengths[0] / 100, rel=1e-12) and lengths[0] > 0


def test_macros_and_ports_come_from_another_netlist(files: Path) -> None:
    netlist = flat(files)
    other = scaled(netlist, 2.0)
    own, start = netlist_placement(netlist), netlist_placement(other)
    found = with_macros_of(netlist, other, replace(start, orientation=np.full_like(start.orientation, 2)))
    macros, cells = netlist.kind == HARD, netlist.kind == CELL
    assert np.array_equal(found.width[macros], 2 * netlist.width[macros])
    assert np.array_equal(found.x[macros], 2 * netlist.x[macros]) and (found.orientation[macros] == 2).all()
    assert np.array_equal(found.x[cells], own.x[cells]) and np.array_equal(found.width[cells], netlist.width[cells])
    assert found.y[netlist.kind == PORT].tolist() == [1000.0]
    shifted = replace(netlist, x_offset=np.where(netlist.kind == PIN, 10.0, 0.0))
    assert with_macros_of(shifted, other, start).x_offset[netlist.kind == PIN].tolist() == [20.0] * int(
        (netlist.kind == PIN).sum()
    )
    names = tuple("x" if name == "L" else name for name in other.names)
    with pytest.raises(UsageError, match="1 of the 3 hard macros and ports of d are none of d, the first 'L'"):
        with_macros_of(netlist, replace(other, names=names), start)


def test_piles_are_counted_by_centre_or_corner(files: Path) -> None:
    netlist = flat(files)
    assert at_one_point(netlist, CELL) == (8, 8) and at_one_point(netlist, HARD) == (1, 2)
    corners = replace(netlist, width=netlist.width + np.arange(len(netlist.kind)))  # other centres than corners now
    corners = replace(corners, x=np.where(netlist.kind == CELL, corners.width / 2, corners.x))
    assert at_one_point(corners, CELL) == (8, 8) and at_one_point(netlist, SOFT) == (0, 0)


def test_the_command_refuses_what_cannot_be_written(inline: Inline, files: Path) -> None:
    words = ("group", "d.nodes", "-o", "out.pb.txt", *CANVAS, "--groups", "d.groups")
    said = inline(*words, "--unit", "0.01", code=2).stderr
    assert "several nets driven by 'P'" in said and "--merge-nets" in said and not (files / "out.pb.txt").exists()
    for more, sentence in (
        (("--unit", "0"), "--unit must be a positive number, got 0.0"),
        (("--place", "nan"), "--place must be a positive number"),
        (("--place-macros",), "give its seconds by --place"),
        (("--utilization", "1.5"), "--utilization must be above 0 and at most 1, got 1.5"),
    ):
        assert sentence in inline(*words, *more, code=2).stderr


def test_units_and_piles_are_told(inline: Inline, files: Path) -> None:
    words = ("group", "d.nodes", "-o", "out.pb.txt", *CANVAS, "--groups", "d.groups", "--merge-nets")
    said = inline(*words, "--unit", "0.01").stderr
    assert "8 of the 8 cells of d stand at one point" in said and "--place SECONDS" in said and "--unit" not in said
    said = inline(*words).stderr
    assert "take 81600 square microns, the canvas has 100; --unit" in said


def test_the_utilisation_is_the_area_of_soft_macros(inline: Inline, files: Path) -> None:
    words = ("group", "d.nodes", *CANVAS, "--groups", "d.groups", "--merge-nets", "--unit", "0.01", "--json")
    cells = 8 * 0.2 * 0.1
    for more, share in ((), 0.5), (("--utilization", "0.8"), 0.8):
        row = json.loads(inline(*words, "-o", "out.pb.txt", *more).stdout)
        found = read_netlist(files / "out.pb.txt")
        soft = found.kind == SOFT
        assert row["soft_area"] == pytest.approx(cells / share, rel=1e-6) and row["soft_macros"] == soft.sum() == 4
        assert (found.width * found.height)[soft].sum() == pytest.approx(cells / share, rel=1e-6)
        assert f"f: {1 / share!r}" in (files / "out.pb.txt").read_text()  # the metadata
        assert row["soft_pins"] == (found.kind[found.parent] == SOFT).sum() - 4
        assert row["net_weight"] == found.weight.sum()


def test_cells_are_placed_around_macros_first(inline: Inline, files: Path) -> None:
    words = ("group", "d.nodes", *CANVAS, "--groups", "d.groups", "--merge-nets", "--unit", "0.01", "--place", "60")
    said = inline(*words, "-o", "netlist.pb.txt", "--write-plc", "initial.plc").stderr
    assert "stand at one point" not in said
    found = read_netlist(files / "netlist.pb.txt")
    hard, soft = found.kind == HARD, found.kind == SOFT
    assert found.x[hard].tolist() == [2.5, 7.5] and found.y[hard].tolist() == [2.0, 7.0]  # where they stood
    assert len({*zip(found.x[soft], found.y[soft], strict=True)}) == 4 and (found.x[soft] > 0.05).all()
    placement = read_plc(files / "initial.plc", found)[1]
    assert placement.placed[found.kind != PIN].all()
    inline(*words, "-o", "again.pb.txt")
    assert (files / "again.pb.txt").read_bytes() == (files / "netlist.pb.txt").read_bytes()
    inline(*words, "-o", "other.pb.txt", "--seed", "1")
    assert (files / "other.pb.txt").read_bytes() != (files / "netlist.pb.txt").read_bytes()


def test_a_placement_that_may_be_cut_short_is_told(inline: Inline, files: Path) -> None:
    words = ("group", "d.nodes", *CANVAS, "--groups", "d.groups", "--merge-nets", "--unit", "0.01", "-o", "a.pb.txt")
    said = inline(*words, "--place", "0.001").stderr
    assert "--place 0.001 may not do for all 400 iterations" in said and (files / "a.pb.txt").is_file()


def test_macros_are_placed_unless_they_are_fixed(inline: Inline, files: Path) -> None:
    words = ("group", "d.nodes", *CANVAS, "--groups", "d.groups", "--merge-nets", "--unit", "0.01", "--place", "60")
    inline(*words, "--place-macros", "-o", "netlist.pb.txt", "--write-plc", "initial.plc")
    found = read_netlist(files / "netlist.pb.txt")
    at = {name: (found.x[i], found.y[i]) for i, name in enumerate(found.names)}
    assert at["L"] == (7.5, 7.0) and at["M"] != (2.5, 2.0)
    chip = make_problem("ChipPlacement").load(str(files / "netlist.pb.txt"))
    verdict = make_problem("ChipPlacement").judge(
        chip, {key: getattr(chip.placement, key)[chip.macros] for key in ("x", "y", "orientation")}
    )
    assert verdict.metrics["overlaps"] == 0


def test_places_of_macros_come_from_another_file(inline: Inline, files: Path) -> None:
    words = ("group", "d.nodes", *CANVAS, "--groups", "d.groups", "--merge-nets", "--unit", "0.01", "-o")
    inline(*words, "right.pb.txt")
    apart = (files / "d.pl").read_text()
    (files / "d.pl").write_text(apart.replace("M 100 100", "M 0 0").replace("L 700 600", "L 0 0"))
    said = inline(*words, "a.pb.txt", "--place", "60").stderr
    assert "2 of the 2 hard macros of d stand at one point" in said and "--macros-from FILE" in said
    said = inline(*words, "b.pb.txt", "--place", "60", "--macros-from", "right.pb.txt").stderr
    assert "stand at one point" not in said
    found, right = read_netlist(files / "b.pb.txt"), read_netlist(files / "right.pb.txt")
    hard = found.kind == HARD
    assert found.x[hard].tolist() == right.x[hard].tolist() == [2.5, 7.5]
    (files / "d.pl").write_text(apart)
    inline(*words, "c.pb.txt", "--place", "60")
    assert (files / "c.pb.txt").read_bytes() == (files / "b.pb.txt").read_bytes()


@pytest.mark.slow
@needs_chip
def test_the_recipe_of_ibm01r(inline: Inline, tmp_path: Path) -> None:
    """What must be equal to the published stand-in is; what follows from the flat placement is near."""
    pytest.importorskip("mtkahypar")
    folder = CHIP / "ibm01r"
    row = json.loads(inline(
        "group", str(CHIP / "bookshelf" / "ibm01.nodes.gz"), "--unit", "0.01", "--merge-nets", "--utilization", "1",
        "--macros-from", str(folder / "netlist.pb.txt.gz"), "--plc", str(folder / "initial.plc"), "--place", "60",
        "-o", "netlist.pb.txt.gz", "--write-plc", "initial.plc", "--json",
    ).stdout)  # fmt: skip
    problem = make_problem("ChipPlacement")
    made, known = problem.load(str(tmp_path / "netlist.pb.txt.gz")), problem.load("ibm01r/ibm01r")
    assert made.canvas == known.canvas
    sides = []
    for chip in (made, known):
        netlist, x, y = chip.netlist, chip.placement.x, chip.placement.y
        kinds = {kind: np.flatnonzero(netlist.kind == kind) for kind in (HARD, PORT)}
        sides.append({kind: [(netlist.names[i], netlist.width[i], netlist.height[i], x[i], y[i]) for i in at]
                      for kind, at in kinds.items()})  # fmt: skip
        soft = netlist.kind == SOFT
        assert (netlist.width * netlist.height)[soft].sum() == pytest.approx(196.8832, abs=1e-5)
    assert len(sides[0][HARD]) == len(sides[0][PORT]) == 246
    for kind in (HARD, PORT):
        assert [item[0] for item in sides[0][kind]] == [item[0] for item in sides[1][kind]]
    assert np.allclose([item[1:] for item in sides[0][HARD]], [item[1:] for item in sides[1][HARD]], rtol=1e-6)
    assert np.allclose([item[3:] for item in sides[0][PORT]], [item[3:] for item in sides[1][PORT]], rtol=1e-6)
    assert 860 <= row["soft_macros"] <= 1060 and 5600 <= row["soft_pins"] <= 6300
    assert row["net_weight"] == pytest.approx(7515, rel=0.01)
    places = [{key: getattr(chip.placement, key)[chip.macros] for key in ("x", "y", "orientation")}
              for chip in (made, known)]  # fmt: skip
    found = [problem.judge(*pair).metrics["proxy"] for pair in zip((made, known), places, strict=True)]
    assert round(found[1], 4) == 1.0221 and found[0] == pytest.approx(found[1], rel=0.1)
