"""Grouping of standard cells: every stage against Circuit Training's files, and against figures of its unit tests."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from public import CHIP, needs_chip

from sysgym import UsageError
from sysgym.chip_placement.cost import proxy_cost
from sysgym.chip_placement.formats.bookshelf import read_bookshelf
from sysgym.chip_placement.formats.netlist import (
    CELL,
    HARD,
    PIN,
    PORT,
    SOFT,
    Netlist,
    parse_netlist,
    read_netlist,
    read_text,
)
from sysgym.chip_placement.formats.netlist_writer import format_netlist
from sysgym.chip_placement.formats.plc import Canvas, netlist_placement
from sysgym.chip_placement.geometry.macros import positions
from sysgym.chip_placement.grouping.clusters import areas
from sysgym.chip_placement.grouping.rules import (
    break_up,
    final_groups,
    fixed_groups,
    format_groups,
    format_hypergraph,
    group_cells,
    merge_small,
    partition_cells,
    read_groups,
)
from sysgym.core.errors import MissingDependency

FULL = CHIP / "full"
NAME = "ariane133_NanGate45"
SIDE = 1433.405978506462
needs_partitioner = pytest.mark.skipif(importlib.util.find_spec("mtkahypar") is None, reason="mtkahypar is not here")
P0, P1, S0, S1, M0, M1, P0_M0, P1_M0, P0_M1, P1_M1 = range(10)


@pytest.fixture(scope="module")
def full() -> Netlist:
    """The published netlist before grouping, 96,886 nodes."""
    return read_netlist(FULL / f"{NAME}.pb.txt.gz")


def simple() -> Netlist:
    """Circuit Training's `simple.pb.txt`: ports P0, P1, cells S0, S1, macros M0, M1 of two pins each."""
    drives = {P0: (P0_M0, S0), S0: (S1,), S1: (P0_M1,), P1_M0: (S1,), P1_M1: (P1,)}
    ends = {P0_M0: (M0, -60, 60), P1_M0: (M0, 60, 60), P0_M1: (M1, -40, 20), P1_M1: (M1, 40, 20)}
    kind = np.array([PORT, PORT, CELL, CELL, HARD, HARD, PIN, PIN, PIN, PIN], np.int8)
    parent, offsets = np.arange(10, dtype=np.int32), np.zeros((2, 10))
    for pin, (macro, x, y) in ends.items():
        parent[pin], offsets[:, pin] = macro, (x, y)
    return Netlist(
        name="simple", kind=kind, width=np.array([0, 0, 2.208, 2.208, 120, 80, 0, 0, 0, 0]),
        height=np.array([0, 0, 0.48, 0.48, 120, 40, 0, 0, 0, 0]), x=offsets[0].copy(), y=offsets[1].copy(),
        orientation=np.zeros(10, np.int8), parent=parent, x_offset=offsets[0], y_offset=offsets[1],
        ptr=np.cumsum([0, *(1 + len(sinks) for sinks in drives.values())]),
        pins=np.array([node for at, sinks in drives.items() for node in (at, *sinks)], np.int32),
        weight=np.ones(5), names=("P0", "P1", "S0", "S1", "M0", "M1", "P0_M0", "P1_M0", "P0_M1", "P1_M1"),
    )  # fmt: skip


def at(netlist: Netlist, places: dict[int, tuple[float, float]]) -> Netlist:
    """The netlist with some nodes elsewhere."""
    x, y = netlist.x.copy(), netlist.y.copy()
    for node, place in places.items():
        x[node], y[node] = place
    return replace(netlist, x=x, y=y)


def cells_in(groups: dict[int, int]) -> Any:
    """Groups of ten nodes."""
    found = np.full(10, -1)
    for node, group in groups.items():
        found[node] = group
    return found


def test_the_hypergraph_of_the_unit_test() -> None:
    assert format_hypergraph(simple()) == "5 10\n1 7 3\n3 4\n4 9\n8 4\n10 2\n"


@pytest.mark.parametrize(
    ("first", "second", "groups"),
    [((10, 0), (0, 10), (2, 3)), ((0, 19), (0, 15), (2, 2)), ((35, 0), (10, 0), (3, 2)), ((50, 99), (99, 50), (2, 3))],
)
def test_ports_close_together_are_a_group(
    first: tuple[float, float], second: tuple[float, float], groups: tuple[int, int]
) -> None:
    netlist = at(simple(), {P0: first, P1: second})
    found = fixed_groups(netlist, 100, 100, 10, 10, levels=0)
    assert (found[P0], found[P1]) == groups
    assert found[6:].tolist() == [0, 0, 1, 1] and (found[2:6] == -1).all()
    found = fixed_groups(netlist, 100, 100, 10, 10)
    assert found[S0] == found[P0] and found[S1] == 0 and (found[4:6] == -1).all()


def test_merging_of_the_unit_test() -> None:
    netlist, groups = at(simple(), {S0: (100, 0), S1: (0, 100)}), cells_in({S0: 5, S1: 2})
    found, done = merge_small(netlist, groups, 5, 50)
    assert done and np.array_equal(found, groups)
    found, done = merge_small(netlist, groups, 5, 500)
    assert not done and found[S0] == found[S1]
    again, done = merge_small(netlist, found, 5, 500)
    assert done and np.array_equal(found, again)


def test_breaking_up_of_the_unit_test() -> None:
    netlist, groups = at(simple(), {S0: (0, 0), S1: (0, 100)}), cells_in({S0: 3, S1: 3})
    assert np.array_equal(break_up(netlist, groups, 100), groups)
    assert np.array_equal(break_up(netlist, groups, 90), cells_in({S0: 4, S1: 5}))


@needs_chip
@pytest.mark.parametrize(("facing", "end"), [(0, ""), (2, "_s")])
def test_clusters_of_the_unit_test(facing: int, end: str) -> None:
    read = read_netlist(CHIP / "tests" / "grouping" / "simple.pb.txt")
    assert np.array_equal(read.pins, simple().pins) and np.array_equal(read.width, simple().width)
    netlist = at(read, {S0: (10, 60), S1: (30, 30)})
    netlist.orientation[M0] = facing
    side = float(np.sqrt((netlist.width * netlist.height).sum() / 0.6))
    found = group_cells(netlist, side, side, 10, groups=cells_in({S0: 2, S1: 2}), utilization=1.0)
    wanted = read_netlist(CHIP / "tests" / "grouping" / f"simple_grouped_soft_macro_not_bloated{end}.pb.txt")
    for key in ("names", "kind", "height", "width", "parent", "ptr", "pins", "weight", "x_offset", "y_offset"):
        assert np.array_equal(getattr(found, key), getattr(wanted, key)), key
    soft = found.kind[found.parent] == SOFT
    assert np.array_equal(found.x[soft], wanted.x[soft]) and np.array_equal(found.y[soft], wanted.y[soft])


def test_clusters_by_hand() -> None:
    """Two groups: parallel nets to one sink share a pin that weighs both, cells without a group are nobody's sinks."""
    netlist = at(simple(), {S0: (10, 60), S1: (30, 30)})
    found = group_cells(netlist, 100, 100, 10, groups=cells_in({S0: 7, S1: 4}))
    assert found.names[8:] == ("Grp_4", "Grp_4/Poutput_single_0", "Grp_4/Pinput", "Grp_7", "Grp_7/Poutput_single_0",
                               "Grp_7/Pinput")  # fmt: skip
    nets = {found.names[net[0]]: [found.names[sink] for sink in net[1:]]
            for net in np.split(found.pins, found.ptr[1:-1])}  # fmt: skip
    assert nets == {"P0": ["Grp_7/Pinput", "P0_M0"], "P1_M0": ["Grp_4/Pinput"], "P1_M1": ["P1"],
                    "Grp_4/Poutput_single_0": ["P0_M1"], "Grp_7/Poutput_single_0": ["Grp_4/Pinput"]}  # fmt: skip
    assert found.width[8] == 10 and found.height[8] == pytest.approx(2 * 2.208 * 0.48 / 10, rel=1e-6)
    assert (found.x[8], found.y[8], found.x[11], found.y[11]) == (30, 30, 10, 60)
    merged = replace(netlist, pins=netlist.pins.copy())
    merged.pins[merged.ptr[1] + 1] = P0_M1  # S0 drives what S1 drives
    found = group_cells(merged, 100, 100, 10, groups=cells_in({S0: 7, S1: 7}))
    assert found.names[8:] == ("Grp_7", "Grp_7/Poutput_single_0", "Grp_7/Pinput") and found.weight.max() == 2
    found = group_cells(netlist, 100, 100, 10, groups=cells_in({S1: 4}))
    assert found.names[2] == "S0" and found.kind[2] == CELL and found.nets == 5
    assert parse_netlist(format_netlist(found), "simple").names == found.names


@needs_chip
def test_the_stages_before_give_the_published_files(full: Netlist) -> None:
    assert format_hypergraph(full) == read_text(FULL / f"{NAME}.metis_input.gz")
    fixed = fixed_groups(full, SIDE, SIDE, 24, 21)
    assert format_groups(fixed) == read_text(FULL / f"{NAME}.metis_input.fix.gz")
    partition = read_groups(FULL / f"{NAME}.metis_input.part.647.gz", full)
    found = final_groups(full, fixed, partition, SIDE, SIDE)
    assert format_groups(found) == read_text(FULL / f"{NAME}.groups.final.gz")
    with pytest.raises(UsageError, match=r"the partition puts .* into part 134; it is fixed to part 133"):
        final_groups(full, fixed, np.where(partition == 133, 134, partition), SIDE, SIDE)


@needs_chip
def test_grouping_keeps_area_and_connections(full: Netlist) -> None:
    """What must hold of any grouping, here of a senseless one: vertical stripes."""
    stripes = (full.x * 50 / SIDE).astype(np.int64).clip(0, 49)
    found = group_cells(full, SIDE, SIDE, 24, 21, groups=stripes)
    soft = found.kind == SOFT
    assert soft.sum() == len(np.unique(stripes[full.kind == CELL]))
    assert (found.width * found.height)[soft].sum() == pytest.approx(2 * areas(full).sum(), rel=1e-6)
    assert (found.kind == HARD).sum() == 133 and (found.kind == PORT).sum() == 495
    px, py = positions(found, netlist_placement(found))
    assert np.allclose(px, found.x, atol=1e-3) and np.allclose(py, found.y, atol=1e-3)
    crossing = 0  # nets of at most 500 sinks that leave a stripe; some ports drive only themselves and stay
    body = np.where(full.kind == CELL, -stripes - 1, np.arange(len(stripes)))
    for net in np.split(full.pins, full.ptr[1:-1]):
        crossing += len(net) <= 501 and (len(set(body[net].tolist())) > 1 or full.kind[net[0]] == PORT)
    assert found.weight.sum() == crossing


@needs_chip
@needs_partitioner
@pytest.mark.slow
def test_a_partitioner_takes_the_place_of_hmetis(full: Netlist) -> None:
    fixed = fixed_groups(full, SIDE, SIDE, 24, 21)
    partition = partition_cells(full, fixed, 647)
    assert np.array_equal(partition[fixed >= 0], fixed[fixed >= 0]) and partition.max() == 646
    theirs = read_groups(FULL / f"{NAME}.metis_input.part.647.gz", full)
    nets = [net for net in np.split(full.pins, full.ptr[1:-1]) if len(net) <= 501]
    cut, their_cut = (sum(len(set(parts[net].tolist())) - 1 for net in nets) for parts in (partition, theirs))
    assert their_cut == 38586 and cut < 1.06 * their_cut
    found = group_cells(full, SIDE, SIDE, 24, 21, partition=partition)
    assert 700 < (found.kind == SOFT).sum() < 900


@needs_chip
@needs_partitioner
@pytest.mark.slow
def test_a_bookshelf_design_is_grouped_without_files() -> None:
    netlist, canvas, _ = read_bookshelf(CHIP / "bookshelf" / "ibm01.nodes.gz")
    found, again = (group_cells(netlist, canvas.width, canvas.height, 32, free_groups=100) for _ in range(2))
    assert np.array_equal(found.x, again.x) and found.names == again.names
    assert (found.kind == CELL).sum() == 0 and (found.kind == HARD).sum() == 246
    soft = found.kind == SOFT
    assert (found.width * found.height)[soft].sum() == pytest.approx(2 * areas(netlist).sum(), rel=1e-6)
    cost = proxy_cost(found, replace(canvas, columns=32, rows=32), netlist_placement(found))
    assert np.isfinite(cost).all() and cost.wirelength_cost > 0


def test_the_partitioner_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    from sysgym.chip_placement.grouping import rules as grouping

    monkeypatch.setitem(sys.modules, "mtkahypar", None)
    grouping._mtkahypar.cache_clear()
    with pytest.raises(MissingDependency, match="needs mtkahypar: pip install"):
        group_cells(simple(), 100, 100, 10)


@needs_partitioner
def test_a_tiny_netlist_is_partitioned() -> None:
    netlist = at(simple(), {P0: (10, 0), P1: (0, 10)})
    fixed = fixed_groups(netlist, 100, 100, 10, 10, levels=0)
    parts = partition_cells(netlist, fixed, 5, imbalance=3.0)
    assert np.array_equal(parts[fixed >= 0], fixed[fixed >= 0]) and parts.max() < 5


def test_groups_are_read_and_refused(tmp_path: Path) -> None:
    netlist, file = simple(), tmp_path / "groups.final"
    file.write_text(format_groups(cells_in({S0: 2})))
    assert np.array_equal(read_groups(file, netlist), cells_in({S0: 2}))
    for text, sentence in (
        ("1\n2\n", "names 2 groups, netlist simple has 10 nodes"),
        ("1\nx\n", r"groups\.final line 2: expected the number of a group or -1, got 'x'"),
        ("1\n-2\n", r"groups\.final line 2: expected the number"),
    ):
        file.write_text(text)
        with pytest.raises(UsageError, match=sentence):
            read_groups(file, netlist)
    with pytest.raises(UsageError, match=r"groups have the shape \(3,\); netlist simple has 10 nodes"):
        group_cells(netlist, 100, 100, 10, groups=np.zeros(3))


def test_a_canvas_that_is_no_square() -> None:
    canvas = Canvas(200.0, 50.0, 20, 5)
    netlist = at(simple(), {P0: (20, 0), P1: (45, 0)})
    near = fixed_groups(netlist, canvas.width, canvas.height, 8, 5, levels=0)  # cells 25 wide
    far = fixed_groups(netlist, canvas.width, canvas.height, canvas.columns, canvas.rows, levels=0)
    assert near[P0] == near[P1] == 2 and (far[P0], far[P1]) == (2, 3)
