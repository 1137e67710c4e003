"""The proxy cost against Google's recorded figures and TILOS' evaluator, and its parts against slow definitions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from public import CHIP, needs_chip

from sysgym import UsageError
from sysgym.chip_placement.cost import ProxyCost, congestion_maps, density_map, proxy_cost
from sysgym.chip_placement.formats.netlist import HARD, ORIENTATIONS, PIN, SOFT, Netlist, parse_netlist, read_netlist
from sysgym.chip_placement.formats.plc import Canvas, canvas_of, format_plc, netlist_placement, parse_plc, read_plc
from sysgym.chip_placement.geometry.macros import macro_sizes, positions
from sysgym.core.errors import Notice

DESIGNS = (
    "ariane133_NanGate45", "ariane133_SKY130HD", "ariane136_NanGate45", "mempool_tile_ASAP7", "mempool_tile_NanGate45",
    "nvdla_ASAP7", "nvdla_NanGate45",
)  # fmt: skip


def node(name: str, kind: str, *inputs: str, **values: Any) -> str:
    """A node of a netlist file."""
    attributes = {"type": kind, **values}
    lines = [f'  name: "{name}"', *(f'  input: "{item}"' for item in inputs)]
    for key, value in attributes.items():
        shown = f'placeholder: "{value}"' if isinstance(value, str) else f"f: {value}"
        lines += ["  attr {", f'    key: "{key}"', "    value {", f"      {shown}", "    }", "  }"]
    return "\n".join(["node {", *lines, "}"]) + "\n"


def random_netlist(seed: int) -> tuple[Netlist, Canvas]:
    """Hard and soft macros, pins and ports at random, some beyond the border, some turned."""
    rng = np.random.default_rng(seed)
    macros = [("M" if i < 4 else "Grp_") + str(i) for i in range(7)]
    text, sinks = "", [f"{name}/in" for name in macros]
    for i, name in enumerate(macros):
        x, y = rng.uniform(-5, 105, 2)
        facing = ORIENTATIONS[int(rng.integers(4))] if i < 4 else "N"
        text += node(name, "MACRO", width=rng.uniform(5, 40), height=rng.uniform(5, 40), x=x, y=y, orientation=facing)
        text += node(f"{name}/in", "MACRO_PIN", macro_name=name, x_offset=rng.uniform(-3, 3), y_offset=1.5)
        for p in range(3):
            chosen = rng.choice(sinks, int(rng.integers(1, 6)), replace=False)
            text += node(f"{name}/out{p}", "MACRO_PIN", *chosen, macro_name=name, weight=float(rng.integers(1, 4)),
                         x_offset=rng.uniform(-3, 3), y_offset=rng.uniform(-3, 3))  # fmt: skip
    text += node("port", "PORT", "M0/in", "Grp_5/in", side="LEFT", x=0.0, y=50.0)
    return parse_netlist(text, f"random{seed}"), Canvas(100.0, 80.0, 7, 5, (10.0, 12.0), (5.0, 7.0), float(seed % 3))


@needs_chip
@pytest.mark.parametrize("design", DESIGNS)
def test_costs_equal_the_recorded_ones(design: str) -> None:
    folder = CHIP / "ct" / design
    expected = json.loads((folder / "expected.json").read_text())
    netlist = read_netlist(folder / "netlist.pb.txt.gz")
    counts = expected["counts"]
    assert (
        counts["hard_macros"] == (netlist.kind == HARD).sum() and counts["soft_macros"] == (netlist.kind == SOFT).sum()
    )
    assert counts["nets"] == netlist.nets and counts["net_weight_sum"] == netlist.weight.sum()
    assert counts["pins"] == (netlist.kind == PIN).sum() and counts["net_pins"] == len(netlist.pins)
    for which in ("initial", "legalized"):
        canvas, placement = read_plc(folder / f"{which}.plc", netlist)
        header, wanted = expected[which]["google_header"], expected[which]["evaluator"]
        found = proxy_cost(netlist, canvas, placement, square_soft=False)
        assert found.density_cost == pytest.approx(header["density_cost"], abs=6e-5)
        assert found.congestion_cost == pytest.approx(header["congestion_cost"], abs=6e-5)
        close = 3e-8 if placement.placed.all() else 1e-5
        if not placement.placed.all():  # the independent evaluator left these where the netlist has them
            recorded = netlist_placement(netlist)
            arrays = {key: np.where(placement.placed, getattr(placement, key), getattr(recorded, key))
                      for key in ("x", "y", "orientation")}  # fmt: skip
            placement = replace(placement, **arrays, placed=np.ones_like(placement.placed))
            found = proxy_cost(netlist, canvas, placement, square_soft=False)
        else:
            assert found.wirelength == pytest.approx(header["wirelength"], rel=1e-6)
        assert found.wirelength == pytest.approx(wanted["wirelength"], rel=1e-6)
        assert found.wirelength_cost == pytest.approx(wanted["wirelength_cost"], abs=close)
        assert found.density_cost == pytest.approx(wanted["density_cost"], abs=close)
        assert found.congestion_cost == pytest.approx(wanted["congestion_cost"], abs=close)
        squared = proxy_cost(netlist, canvas, placement)
        assert squared.density_cost == pytest.approx(wanted["density_cost_square_soft"], abs=close)


def tiny_rows() -> list[dict[str, Any]]:
    file = CHIP / "tests" / "tilos" / "expected.json"
    rows: list[dict[str, Any]] = json.loads(file.read_text()) if file.is_file() else []
    return rows


@needs_chip
def test_tiny_netlists_cost_what_the_open_evaluator_says() -> None:
    rows = tiny_rows()
    assert len(rows) == 26
    for row in rows:
        netlist = read_netlist(CHIP / "tests" / "tilos" / row["netlist"])
        canvas = Canvas(*row["canvas"], *row["cols_rows"], tuple(row["routes_per_micron"]),
                        tuple(row["macro_routing_allocation"]), row["smooth"])  # fmt: skip
        found = proxy_cost(netlist, canvas, netlist_placement(netlist), square_soft=False)
        assert found.wirelength == pytest.approx(row["wirelength"], rel=1e-6), row["netlist"]
        assert found.wirelength_cost == pytest.approx(row["wirelength_cost"], abs=1e-6), row["netlist"]
        assert found.density_cost == pytest.approx(row["density_cost"], abs=1e-6), row["netlist"]
        if row.get("congestion_cost_skip_oob") is not None:
            assert found.congestion_cost == pytest.approx(row["congestion_cost_skip_oob"], abs=1e-6), row["netlist"]


@needs_chip
def test_unit_test_netlists_of_circuit_training() -> None:
    folder = CHIP / "tests" / "macro_tiles_10x10"
    tiles = read_netlist(folder / "netlist.pb.txt.gz")
    assert (tiles.kind == HARD).sum() == 100 and not (tiles.kind == SOFT).any()
    with pytest.warns(Notice, match="guessed") as told:
        canvas = canvas_of(tiles, "tiles")
    assert len(told) == 2 and canvas.guessed
    alone = proxy_cost(tiles, canvas, netlist_placement(tiles))
    wanted = ProxyCost(5400.0, 0.007745966692414834, 0.3570806661517036, 1.124405186246434)
    assert alone == pytest.approx(wanted, rel=1e-12)
    placed = proxy_cost(tiles, *read_plc(folder / "initial.plc", tiles))
    assert placed == pytest.approx(ProxyCost(12960.0, 0.01, 0.347222, 0.614426), abs=1e-6)
    folder = CHIP / "tests" / "sample_clustered"
    sample = read_netlist(folder / "netlist.pb.txt")
    found = proxy_cost(sample, *read_plc(folder / "initial.plc", sample), square_soft=False)
    assert found == pytest.approx(ProxyCost(1083.0, 0.27075, 0.115228, 0.353494), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_wirelength_and_density_equal_their_definitions(seed: int) -> None:
    netlist, canvas = random_netlist(seed)
    placement = netlist_placement(netlist)
    px, py = positions(netlist, placement)
    length = 0.0
    for e in range(netlist.nets):
        at = netlist.pins[netlist.ptr[e] : netlist.ptr[e + 1]]
        length += netlist.weight[e] * (np.ptp(px[at]) + np.ptp(py[at]))
    found = proxy_cost(netlist, canvas, placement, square_soft=False)
    assert found.wirelength == pytest.approx(length, rel=1e-12)
    width, height = macro_sizes(netlist, square_soft=False)
    grid = density_map(netlist, canvas, placement, width, height)
    rng = np.random.default_rng(seed)  # the share of random points of a cell, macro by macro
    points = rng.uniform(0, 1, (20_000, 2))
    for r in range(canvas.rows):
        for c in range(canvas.columns):
            x = (c + points[:, 0]) * canvas.width / canvas.columns
            y = (r + points[:, 1]) * canvas.height / canvas.rows
            covered = sum(
                ((abs(x - placement.x[i]) < width[i] / 2) & (abs(y - placement.y[i]) < height[i] / 2)).mean()
                for i in netlist.macros
            )
            assert grid[r, c] == pytest.approx(covered, abs=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_smoothing_moves_demand_and_loses_none(seed: int) -> None:
    netlist, canvas = random_netlist(seed)
    placement, sizes = netlist_placement(netlist), macro_sizes(netlist)
    plain = congestion_maps(netlist, replace(canvas, smoothing=0.0), placement, *sizes)
    for reach in (1.0, 2.0, 3.0):
        smoothed = congestion_maps(netlist, replace(canvas, smoothing=reach), placement, *sizes)
        assert np.allclose(plain[0].sum(axis=0), smoothed[0].sum(axis=0))  # horizontal: up and down its column
        assert np.allclose(plain[1].sum(axis=1), smoothed[1].sum(axis=1))  # vertical: along its row


@pytest.mark.parametrize("facing", ORIENTATIONS)
def test_orientations_turn_pins(facing: str) -> None:
    """As turning (2, 1) by hand: mirrored first where F, then a quarter turn at a time."""
    text = node("M", "MACRO", width=10.0, height=6.0, x=50.0, y=40.0, orientation=facing)
    text += node("M/a", "MACRO_PIN", macro_name="M", x_offset=2.0, y_offset=1.0)
    netlist = parse_netlist(text, "one")
    px, py = positions(netlist, netlist_placement(netlist))
    wanted = {"N": (2, 1), "FN": (-2, 1), "S": (-2, -1), "FS": (2, -1), "E": (1, -2), "FE": (-1, -2), "W": (-1, 2),
              "FW": (1, 2)}  # fmt: skip
    assert (px[1] - 50, py[1] - 40) == wanted[facing]


@pytest.mark.parametrize("seed", range(3))
def test_placement_files_round_trip(seed: int) -> None:
    netlist, canvas = random_netlist(seed)
    canvas = replace(canvas, blockages=((0.0, 0.0, 10.0, 10.0, 1.0),))
    placement = netlist_placement(netlist)
    again, found = parse_plc(format_plc(netlist, canvas, placement), netlist)
    assert again == canvas
    assert np.array_equal(found.orientation, placement.orientation) and found.placed.all()
    assert np.array_equal(found.fixed, placement.fixed)
    assert np.allclose(found.x, placement.x, rtol=1e-5) and np.allclose(found.y, placement.y, rtol=1e-5)
    assert format_plc(netlist, again, found) == format_plc(netlist, canvas, placement)


HEAD = "# Columns : 2  Rows : 2\n# Width : 9  Height : 9\n"
GOOD = node("M", "MACRO", width=10.0, height=6.0, x=5.0, y=4.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (GOOD[:-2], "ends within the node of line 1; the file is cut off"),
        (GOOD + "}\n", "this bracket closes nothing"),
        (GOOD + GOOD, "a second node is named 'M'"),
        (GOOD.replace("10.0", "ten"), "line 12: expected a number after 'f:'"),
        (GOOD.replace("10.0", "nan"), "width of 'M' is 'nan', expected a number"),
        (GOOD.replace('"MACRO"', '"MAKRO"'), "has the type 'MAKRO'; expected PORT, MACRO, MACRO_PIN or STDCELL"),
        (GOOD.replace('  name: "M"\n', ""), "line 1: this node has no name"),
        (GOOD.replace('"M"', '"M'), "line 2: this text has no closing quote"),
        (node("p", "MACRO_PIN", macro_name="Q"), "the macro 'Q' of pin 'p' is missing"),
        (node("p", "MACRO_PIN", macro_name="p"), "'p', which pin 'p' is on, is a pin"),
        (node("M", "MACRO", width=-1.0), "a size or weight of 'M' is negative"),
        (node("p", "PORT", "nobody"), "'p' drives 'nobody', which is missing"),
        (node("M", "MACRO", orientation="NE"), "'M' has the orientation 'NE', which is none; expected one of N, FN"),
        ("VERSION 5.8 ;\n", "line 1: expected ':' or '{' after 'VERSION', got '5.8 ;'"),
        ("message {\n}\n", "line 1: unknown field of a graph 'message'. Known: debug_info, library, node"),
        (GOOD.replace("name:", "nom:"), "line 2: unknown field of a node 'nom'. Did you mean 'name'?"),
    ],
)
def test_damaged_netlists_are_refused_with_a_line(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence.replace("{", r"\{")):
        parse_netlist(text, "bad", "bad.pb.txt")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0 1 2 N 0\n", "names no canvas"),
        ("# Columns : 2  Rows : 2\n# Width : x  Height : 2\n", "names no canvas"),
        ("# Columns : 2  Rows : 2\n# Width : 1-2  Height : 2\n", "line 2: .* holds a word for a number"),
        (HEAD + "0 1 2\n", "line 3: expected 'node_index x y orientation fixed'"),
        (HEAD + "7 1 2 N 0\n", "line 3: node 7 is no macro, port or cell of one"),
        (HEAD + "0 1 2 Q 0\n", "node 0 has the orientation 'Q', which is none; expected one of N, FN"),
        (HEAD + "0 inf 2 N 0\n", "is no placement of a node"),
    ],
)  # fmt: skip
def test_damaged_placements_are_refused_with_a_line(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_plc(text, parse_netlist(GOOD, "one"), "bad.plc")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_netlist(tmp_path / "none.pb.txt")
    (tmp_path / "cut.pb.txt.gz").write_bytes(b"\x1f\x8b\x08rubbish")
    with pytest.raises(UsageError, match=r"cut.pb.txt.gz is a damaged gzip file"):
        read_netlist(tmp_path / "cut.pb.txt.gz")
