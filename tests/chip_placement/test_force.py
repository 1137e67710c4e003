"""Force-directed placement of soft macros: quality against the reference placer, and what must always hold."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from public import CT, needs_chip

from sysgym.chip_placement.cost import proxy_cost
from sysgym.chip_placement.formats.netlist import HARD, SOFT, read_netlist
from sysgym.chip_placement.formats.plc import read_plc
from sysgym.chip_placement.geometry.force import place_soft


@pytest.mark.slow
@needs_chip
def test_quality_is_that_of_the_reference_placer() -> None:
    """After legalized hard macros, six designs: each within 5 %, the geometric mean within 2 %."""
    ratios = []
    for folder in sorted(CT.iterdir()):
        expected = json.loads((folder / "expected.json").read_text()).get("tilos_cpp_fd_square_soft", {})
        wanted = expected.get("legalized_hard_macros_then_fd")
        if wanted is None:
            continue
        netlist = read_netlist(folder / "netlist.pb.txt.gz")
        canvas, placement = read_plc(folder / "legalized.plc", netlist)
        peer = wanted["wirelength_cost"] + 0.5 * wanted["density_cost"] + 0.5 * wanted["congestion_cost"]
        ratios.append(proxy_cost(netlist, canvas, place_soft(netlist, canvas, placement)).proxy() / peer)
    assert len(ratios) == 6 and max(abs(np.array(ratios) - 1)) < 0.05
    assert np.exp(np.log(ratios).mean()) == pytest.approx(1, abs=0.02)


@needs_chip
def test_hard_macros_stay_soft_ones_end_inside_and_the_start_does_not_matter() -> None:
    netlist = read_netlist(CT / "mempool_tile_ASAP7" / "netlist.pb.txt.gz")
    canvas, placement = read_plc(CT / "mempool_tile_ASAP7" / "legalized.plc", netlist)
    placed = place_soft(netlist, canvas, placement)
    hard, soft = netlist.kind == HARD, netlist.kind == SOFT
    assert np.array_equal(placed.x[hard], placement.x[hard]) and np.array_equal(placed.y[hard], placement.y[hard])
    half = np.sqrt(netlist.width * netlist.height)[soft] / 2
    for centre, side in ((placed.x[soft], canvas.width), (placed.y[soft], canvas.height)):
        assert (centre - half > -1e-4).all() and (centre + half < side + 1e-4).all()
    assert placed.placed.all() and np.array_equal(placed.x, placed.x[netlist.parent])
    elsewhere = replace(placement, x=np.where(soft, 1.0, placement.x), placed=placement.placed & ~soft)
    again = place_soft(netlist, canvas, elsewhere)
    assert np.array_equal(placed.x, again.x) and np.array_equal(placed.y, again.y)
