"""Incremental costs against full ones; packing and annealing stay legal and pay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from public import CT, needs_chip

from sysgym.chip_placement.cost import proxy_cost
from sysgym.chip_placement.formats.netlist import HARD, PORT, Netlist, read_netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement, read_plc
from sysgym.chip_placement.geometry.force import place_soft
from sysgym.chip_placement.geometry.legal import find_faults
from sysgym.chip_placement.geometry.moves import Moves
from sysgym.chip_placement.geometry.packing import macro_order, pack, spiral
from sysgym_agents import Budget
from sysgym_agents.chip_placement.placers import Cooling, Setting, anneal


def design(name: str) -> tuple[Netlist, Canvas, Placement]:
    netlist = read_netlist(CT / name / "netlist.pb.txt.gz")
    return netlist, *read_plc(CT / name / "initial.plc", netlist)


@needs_chip
@pytest.mark.parametrize("smoothing", [0.0, 2.0])
def test_a_thousand_moves_cost_what_a_full_evaluation_says(smoothing: float) -> None:
    """Hard and soft macros, several at once, out of the canvas and back, mirrored."""
    netlist, canvas, placement = design("mempool_tile_ASAP7")
    canvas = replace(canvas, smoothing=smoothing)
    state = Moves(netlist, canvas, placement)
    rng = np.random.default_rng(0)
    hard = np.flatnonzero(netlist.kind == HARD)
    for step in range(1000):
        count = int(rng.integers(1, 5))
        chosen = rng.choice(hard if step % 2 else netlist.macros, count, replace=False)
        x, y = rng.uniform(-0.1, 1.1, (2, count)) * np.array([[canvas.width], [canvas.height]])
        state.put(chosen.tolist(), x, y, np.where(netlist.kind[chosen] == HARD, rng.integers(4, size=count), 0))
        if step % 250 == 249:
            assert state.cost() == pytest.approx(proxy_cost(netlist, canvas, state.as_placement()), rel=1e-9)
    before = state.cost()
    state.recompute()
    assert state.cost() == pytest.approx(before, rel=1e-9)


def test_the_spiral_visits_every_cell_once_from_the_corner() -> None:
    for columns, rows in ((1, 1), (1, 5), (4, 1), (5, 4), (7, 7)):
        cells = spiral(columns, rows)
        assert len({tuple(cell) for cell in cells}) == len(cells) == columns * rows
        assert (abs(np.diff(cells, axis=0)).sum(axis=1) == 1).all()
    assert spiral(3, 3).tolist() == [[0, 0], [0, 1], [0, 2], [1, 2], [2, 2], [2, 1], [2, 0], [1, 0], [1, 1]]


@needs_chip
@pytest.mark.parametrize("name", ["ariane133_NanGate45", "mempool_tile_ASAP7", "nvdla_ASAP7"])
def test_packing_is_legal(name: str) -> None:
    netlist, canvas, placement = design(name)
    packed = pack(netlist, canvas, placement, spiral(canvas.columns, canvas.rows))
    assert packed is not None
    assert not find_faults(netlist, canvas, place_soft(netlist, canvas, packed)).sentences()
    areas = (netlist.width * netlist.height)[macro_order(netlist)]
    assert (np.diff(areas) <= 0).all() and len(areas) == (netlist.kind == HARD).sum()
    ports = netlist.kind == PORT
    assert np.array_equal(packed.x[ports], placement.x[ports])
    small = replace(canvas, width=canvas.width / 8)
    assert pack(netlist, small, placement, spiral(canvas.columns, canvas.rows)) is None


@needs_chip
def test_annealing_stays_legal_pays_and_repeats() -> None:
    """Six sweeps of sixty: already better than the packing by a margin, the same twice."""
    netlist, canvas, placement = design("mempool_tile_NanGate45")
    start = pack(netlist, canvas, placement, spiral(canvas.columns, canvas.rows))
    assert start is not None
    found = [anneal(Setting(netlist, canvas), start, np.random.default_rng(1), Budget(), Cooling(6)) for _ in range(2)]
    assert np.array_equal(found[0].x, found[1].x) and np.array_equal(found[0].orientation, found[1].orientation)
    assert not find_faults(netlist, canvas, found[0]).sentences()
    costs = [proxy_cost(netlist, canvas, item).proxy() for item in (place_soft(netlist, canvas, start), found[0])]
    assert costs[1] < 0.97 * costs[0]
