"""Masks, legality and links against Circuit Training's asserted values and against brute force."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from public import CHIP, needs_chip

from sysgym.chip_placement.formats.netlist import HARD, Netlist, read_netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement, netlist_placement, read_plc
from sysgym.chip_placement.geometry.legal import adjacency, find_faults, node_mask
from sysgym.chip_placement.geometry.macros import macro_sizes


@needs_chip
def test_tiles_have_the_asserted_links_and_masks() -> None:
    folder = CHIP / "tests" / "macro_tiles_10x10"
    tiles, wanted = read_netlist(folder / "netlist.pb.txt.gz"), json.loads((folder / "expected.json").read_text())
    table = np.zeros((len(tiles.kind),) * 2)
    first, second, weight = adjacency(tiles)
    table[first, second] = table[second, first] = weight
    assert np.array_equal(table[np.ix_(tiles.macros, tiles.macros)].ravel(), wanted["adjacency_100x100"])
    assert weight.sum() == 540
    canvas, placement = Canvas(1200.0, 1200.0, 20, 20), netlist_placement(tiles)
    for node, key in ((13, "node_mask_node13"), (tiles.names.index("M_R0_C1"), "node_mask_M_R0_C1")):
        assert np.array_equal(node_mask(tiles, canvas, placement, node).ravel(), wanted[key])


def boxes(seed: int) -> tuple[Netlist, Canvas, Placement]:
    """Macros of many sizes at random, some unplaced, some touching exactly."""
    rng = np.random.default_rng(seed)
    count = 12
    width, height = rng.integers(1, 9, count) * 2.5, rng.integers(1, 9, count) * 2.5
    x, y = rng.integers(0, 40, count) * 2.5, rng.integers(0, 32, count) * 2.5
    zero, none = np.zeros(count), np.zeros(0)
    netlist = Netlist(
        f"boxes{seed}", np.full(count, HARD, np.int8), width, height, x, y, np.zeros(count, np.int8),
        np.arange(count, dtype=np.int32), zero, zero, np.zeros(1, np.int64), none.astype(np.int32), none,
        tuple(map(str, range(count))),
    )  # fmt: skip
    placement = replace(netlist_placement(netlist), placed=rng.random(count) < 0.7)
    return netlist, Canvas(100.0, 80.0, 13, 9), placement


def overlap(a: tuple[float, ...], b: tuple[float, ...], spacing: float = 0.0) -> float:
    """Area that two boxes (x, y, width, height) share, the second grown by a spacing."""
    sides = [min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2 + spacing)
             - max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2 - spacing) for i in (0, 1)]  # fmt: skip
    return sides[0] * sides[1] if min(sides) > 1e-6 else 0.0


@pytest.mark.parametrize("spacing", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_masks_equal_trying_every_cell(seed: int, spacing: float) -> None:
    netlist, canvas, placement = boxes(seed)
    width, height = macro_sizes(netlist)
    placed = np.flatnonzero(placement.placed)
    for node in np.flatnonzero(~placement.placed):
        mask = node_mask(netlist, canvas, placement, int(node), spacing)
        for r in range(canvas.rows):
            for c in range(canvas.columns):
                x, y = (c + 0.5) * canvas.width / canvas.columns, (r + 0.5) * canvas.height / canvas.rows
                box = (x, y, width[node], height[node])
                inside = overlap(box, (50, 40, 100, 80)) == pytest.approx(width[node] * height[node])
                free = all(
                    overlap(box, (placement.x[i], placement.y[i], width[i], height[i]), spacing) == 0 for i in placed
                )
                assert mask[r, c] == (inside and free), (node, r, c)


@pytest.mark.parametrize("seed", range(6))
def test_violations_equal_counting_pairs(seed: int) -> None:
    netlist, canvas, placement = boxes(seed)
    placement = replace(placement, placed=np.ones_like(placement.placed))
    rows = list(zip(placement.x, placement.y, netlist.width, netlist.height, strict=True))
    areas = [overlap(a, b) for a, b in combinations(rows, 2)]
    pairs, area = sum(value > 0 for value in areas), sum(areas)
    out = sum(x < w / 2 or y < h / 2 or x + w / 2 > 100 or y + h / 2 > 80 for x, y, w, h in rows)
    found = find_faults(netlist, canvas, placement)
    assert (found.overlaps, found.hard_outside) == (pairs, out) and found.area == pytest.approx(area)
    assert pairs + out > 0
    said = " ".join(found.sentences())
    assert (f"{pairs} pairs of hard macros" in said) == (pairs > 0)
    assert (f"{out} hard macros stick out" in said) == (out > 0)


@needs_chip
def test_recorded_legalizations_are_legal() -> None:
    """Real designs; drawn together by a tenth, their macros overlap."""
    for folder in sorted((CHIP / "ct").iterdir()):
        netlist = read_netlist(folder / "netlist.pb.txt.gz")
        canvas, placement = read_plc(folder / "legalized.plc", netlist)
        missing = (~placement.placed[netlist.macros]).sum()
        found = find_faults(netlist, canvas, placement)
        assert found._replace(soft_outside=0, square_outside=0) == (
            missing,
            0,
            0.0,
            0,
            0,
            0,
        )  # soft ones were no squares when recorded
    closer = replace(placement, x=placement.x * 0.9, y=placement.y * 0.9)
    assert find_faults(netlist, canvas, closer).overlaps > 0
