"""LEF and DEF are read: every public design against what another reader found, and each trap by hand."""

from __future__ import annotations

import gzip
import itertools
import random
import re
from collections import Counter
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lefdef import DEF, DEFS, EXPECTED, LEF, chip_of, content, libraries, needs_lefdef, problem_of, start_of

from sysgym import UsageError, make_problem
from sysgym.chip_placement.formats.lefdef.areas import box_of, outside, rectangles_of
from sysgym.chip_placement.formats.lefdef.build import USUAL, Reading, build, read_design_exchange
from sysgym.chip_placement.formats.lefdef.design import Design, read_def
from sysgym.chip_placement.formats.lefdef.lef import Library, parse_lef, read_lef
from sysgym.chip_placement.formats.netlist import CELL, HARD, ORIENTATIONS, PIN, PORT
from sysgym.chip_placement.formats.plc import Canvas
from sysgym.chip_placement.geometry.macros import positions
from sysgym.chip_placement.grouping import grid_kernels
from sysgym.chip_placement.grouping.grid import with_chosen_grid
from sysgym.core.errors import Notice, reading
from sysgym.core.instances import expand
from sysgym.core.problem import content_hash

pytestmark = [pytest.mark.filterwarnings("ignore::sysgym.core.errors.Notice")]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small design and its library."""
    (tmp_path / "t.lef").write_text(LEF)
    (tmp_path / "t.def").write_text(DEF)
    return tmp_path / "t.def"


def read(path: Path, **how: Any) -> Any:
    """A design with the library beside it."""
    return read_design_exchange(path, Reading((str(path.parent / "t.lef"),), **how))


def edited(path: Path, *changes: tuple[str, str]) -> Path:
    """The design with some texts changed."""
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    return path


def design_facts(name: str) -> dict[str, Any]:
    """What `expected.json` says of a design, from what is read of it."""
    design, _ = read_def(content(name), name)
    library = read_lef(libraries(name))
    sizes = {name: tuple(round(side * design.units) for side in each.size) for name, each in library.masters.items()}
    kinds = {name: each.kind for name, each in library.masters.items()}
    blocks = [item for item in design.components if kinds.get(item.master) == "BLOCK"]
    boxes = [(*item.place, *turned(sizes[item.master], item.orientation)) for item in blocks if item.place]
    gaps = [
        max(max(b[i] - a[i] - a[i + 2], a[i] - b[i] - b[i + 2]) for i in (0, 1))
        for a, b in itertools.combinations(boxes, 2)
    ]
    die = box_of(design.die)
    nets = [[pin_place(design, library, *pin) for pin in net.pins] for net in design.nets]
    spans = [
        (sum(max(axis) - min(axis) for axis in zip(*places, strict=True)), net.weight)
        for places, net in zip(nets, design.nets, strict=True)
        if len(places) > 1 and all(isinstance(place, tuple) for place in places)
    ]
    rows = design.rows
    return {
        "design": design.name, "dbu": design.units, "die": list(die), "rows": len(rows),
        "row_origins": {
            "left": min(row.place[0] for row in rows),
            "right": max(row.place[0] + row.sites[0] * row.step[0] for row in rows),
            "lowest": min(row.place[1] for row in rows), "highest": max(row.place[1] for row in rows),
        },
        "components": len(design.components), "header_components": design.headers["COMPONENTS"],
        "status": dict(Counter(item.status or "UNPLACED" for item in design.components)),
        "blocks": len(blocks), "blocks_placed": len(boxes), "block_overlaps": sum(gap < 0 for gap in gaps),
        "smallest_gap_dbu": min(gaps) if gaps else None,
        "blocks_outside": sum(x < die[0] or y < die[1] or x + w > die[2] or y + h > die[3] for x, y, w, h in boxes),
        "common_divisor_dbu": gcd(*(side for box in boxes for side in box[:2])),
        "orientations": dict(Counter(ORIENTATIONS[item.orientation] for item in blocks if item.place)),
        "pins": len(design.ports), "pins_placed": sum(port.place is not None for port in design.ports),
        "nets": len(design.nets), "header_nets": design.headers.get("NETS"),
        "net_pins": sum(len(net.pins) for net in design.nets),
        "largest_net": max((len(net.pins) for net in design.nets), default=0),
        "nets_of_two_or_more": sum(len(net.pins) > 1 for net in design.nets),
        "nets_with_all_pins_placed": len(spans),
        "hpwl_um": pytest.approx(sum(span for span, _ in spans) / design.units, abs=1e-3),
        "weighted_hpwl_um": pytest.approx(sum(span * weight for span, weight in spans) / design.units, abs=1e-3),
        "unresolved_pins": sum(place == "unresolved" for places in nets for place in places),
        "blockages": len(design.blockages), "halos": sum(any(item.halo) for item in design.components),
    }  # fmt: skip


def turned(size: tuple[int, ...], orientation: int) -> tuple[int, ...]:
    """A size as a box stands."""
    return size[::-1] if orientation >= 4 else size


def pin_place(design: Design, library: Library, component: str, pin: str) -> Any:
    """Where a pin is, in database units: by rotation matrices, unlike in the package."""
    if component == "PIN":
        return next(port for port in design.ports if port.name == pin).place
    item = index_of(design)[component]
    master = library.masters.get(item.master)
    offset = master and master.offset(pin)
    if master is None or offset is None:
        return "unresolved"
    if item.place is None:
        return None
    facing = ORIENTATIONS[item.orientation]
    x, y = (-offset[0], offset[1]) if facing[0] == "F" else offset
    for _ in range(("NESW" if facing[0] == "F" else "NWSE").index(facing[-1])):  # quarters to the left
        x, y = -y, x
    wide, tall = turned(tuple(round(side * design.units) for side in master.size), item.orientation)
    return item.place[0] + wide / 2 + x * design.units, item.place[1] + tall / 2 + y * design.units


_INDICES: dict[int, Any] = {}


def index_of(design: Design) -> Any:
    """Components by name."""
    if id(design) not in _INDICES:
        _INDICES.clear()
        _INDICES[id(design)] = {item.name: item for item in design.components}
    return _INDICES[id(design)]


@needs_lefdef
@pytest.mark.parametrize("name", DEFS)
def test_public_designs_hold_what_another_reader_found(name: str) -> None:
    expected = {key: value for key, value in EXPECTED[name].items() if key != "pin_positions_dbu"}
    expected["blockages"] = len(expected["blockages"])
    assert design_facts(name) == expected


@needs_lefdef
def test_pins_stand_where_klayout_sees_them_in_all_eight_orientations() -> None:
    chip = chip_of("cases.def")
    netlist = chip.netlist
    x, y = positions(netlist, chip.placement)
    seen = {name: (x[i], y[i]) for i, name in enumerate(netlist.names)}
    names = {"d[0]", "q"}
    design, _ = read_def(content("cases.def"), "cases.def")
    compared = set()
    for net in design.nets:
        for (component, pin), place in zip(net.pins, EXPECTED["cases.def"]["pin_positions_dbu"][net.name], strict=True):
            if pin in names and f"{component}/{pin}".replace("\\", "") in seen:
                at = np.array(seen[f"{component}/{pin}".replace("\\", "")]) * 1000 - 10000
                assert at == pytest.approx(place)
                compared.add(design.components[int(component[5])].orientation)
    assert compared == set(range(8))


@needs_lefdef
def test_the_traps_of_the_case() -> None:
    chip = chip_of("cases.def")
    netlist, canvas, placement = chip.netlist, chip.canvas, chip.placement
    assert netlist.name == "cases" and (canvas.width, canvas.height, canvas.origin) == (220.0, 120.0, (-10.0, -10.0))
    assert canvas.database == 1000 and canvas.blockages == ((190.0, 10.0, 210.0, 30.0, 1.0),)  # the soft one binds none
    macros = np.flatnonzero(netlist.kind == HARD)
    assert [netlist.names[i] for i in macros] == [f"blk[{n}]/u_ram" for n in range(8)]
    assert placement.fixed[macros].tolist() == [False] * 7 + [True]
    assert [ORIENTATIONS[i] for i in placement.orientation[macros]] == ["N", "S", "W", "E", "FN", "FS", "FW", "FE"]
    assert (placement.x[macros[2]], placement.y[macros[2]]) == (100 + 5 + 10, 0 + 10 + 10)  # stands on its side
    ports = [netlist.names[i] for i in np.flatnonzero(netlist.kind == PORT)]
    assert ports == ["clk"]  # the other one has no place
    assert (netlist.kind == CELL).sum() == 2 and not any("VDD" in name for name in netlist.names)
    assert netlist.weight.tolist() == [1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]  # nets of macros and ports
    core = chip_of("cases.def", canvas="core").canvas
    assert (core.width, core.height, core.origin) == (200.0, 100.0, (0.0, 0.0))
    assert core.blockages == ((180.0, 0.0, 200.0, 20.0, 1.0),)


def test_a_tiny_design_by_hand(tiny: Path) -> None:
    with pytest.warns(Notice) as told:
        netlist, canvas, placement, source = read(tiny)
    said = " ".join(str(item.message) for item in told)
    assert "left out: 1 component of class COVER, PAD or RING, 1 standard cell on no net" in said
    assert "left out: REGIONS (1)" in said
    assert netlist.names == ("in", "a", "b", "b/a", "a/z", "a/a", "b/z")
    assert netlist.kind.tolist() == [PORT, HARD, HARD, PIN, PIN, PIN, PIN] and netlist.nets == 2
    assert netlist.ptr.tolist() == [0, 3, 6] and netlist.weight.tolist() == [7.0, 1.0]
    assert netlist.pins.tolist() == [4, 3, 0, 6, 5, 3]  # what drives is first
    assert (netlist.x_offset[5], netlist.y_offset[5]) == (0.0, 0.0)  # the middle of both boxes
    assert (netlist.x_offset[4], netlist.y_offset[4]) == (0.0, 0.0)  # an array of 4 by 2
    assert (placement.x[2], placement.y[2], placement.orientation[2]) == (7.0, 1.0, 2)
    assert (canvas.width, canvas.height, canvas.database) == (20.0, 10.0, 100)
    assert source.halos.tolist() == [[0, 0, 0, 0], [1, 2, 3, 4]] and source.turns.tolist() == [True, True]
    assert source.gap == pytest.approx(0.06)  # bottom 2 and top 4
    assert read(tiny, area="core").canvas.origin == (1.0, 2.0)
    assert (read(tiny, area="core").canvas.width, read(tiny, area="core").canvas.height) == (10.0, 2.0)


def test_an_input_port_drives_and_names_may_be_shared(tiny: Path) -> None:
    netlist = read(edited(tiny, ("( b z )", "( PIN in )"), ("- in +", "- a +"), ("PIN in", "PIN a"))).netlist
    assert netlist.names[:3] == ("a~2", "a", "b")  # names of macros stay
    assert netlist.pins[netlist.ptr[1]] == 0


def test_cells_stay_in_a_flat_netlist(tiny: Path) -> None:
    flat = read(edited(tiny, ("( b z )", "( b z ) ( u y )"))).netlist
    at = flat.names.index("u")
    assert flat.kind[at] == CELL and at in flat.pins and (flat.x[at], flat.y[at]) == (1.0, 7.0)
    problem = make_problem("ChipPlacement", lef=str(tiny.parent / "t.lef"))
    chip = problem.load(str(tiny))
    with pytest.raises(UsageError, match="holds 1 standard cells, which the proxy cost wants in clusters"):
        problem.judge(chip, start_of(chip))
    hpwl = make_problem("ChipPlacement", lef=str(tiny.parent / "t.lef"), objective="hpwl")
    assert hpwl.judge(chip, start_of(chip)).feasible


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("COMPONENTS 4", "COMPONENTS 9", r"says COMPONENTS 9, but 4 follow; those count"),
        ("PINS 2", "PINS 0", r"says PINS 0, but 2 follow"),
        ("NETS 3", "NETS 4", r"says NETS 4, but 3 follow"),
        ("- LAYER m RECT", "- PLACEMENT + PARTIAL 0.4 RECT", r"left out: 1 PARTIAL blockage; they bind standard cells"),
        ("( PIN in )", "", r"left out: 1 component"),
        ("- in + NET n", "- in + NET n + SPECIAL ;\n- x", r"1 port without a place yet"),
        (DEF[DEF.index("NETS") : DEF.index("END DESIGN")], "", r"joins nothing by nets"),
    ],
)
def test_what_is_left_out_is_announced(tiny: Path, old: str, new: str, sentence: str) -> None:
    with pytest.warns(Notice, match=sentence):
        read(edited(tiny, (old, new)))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("UNITS DISTANCE MICRONS 100 ;", "", r"t\.def has no UNITS DISTANCE MICRONS, which"),
        ("DIEAREA ( 0 0 ) ( 2000 1000 ) ;", "", r"t\.def has no DIEAREA, which"),
        ("MICRONS 100", "MICRONS 0", r"t\.def line 3: 0 database units a micron are none"),
        ("( 2000 1000 )", "( 2000 x )", r"t\.def line 4: expected a number, got 'x'"),
        ("( 2000 1000 )", "( 2000 0.5 )", r"t\.def line 4: expected a whole number of database units, got '0\.5'"),
        ("( 0 0 ) ( 2000 1000 )", "( 0 0 )", r"t\.def line 4: DIEAREA has fewer than two points"),
        ("( 2000 1000 )", "( 2000 1000 ) ( 9 9 )", r"a polygon with a slanted side, from 0 0 to 2000 1000"),
        ("( 500 0 ) S", "( 500 0 ) T", r"t\.def line 8 has the orientation 'T', which is none; expected one of N"),
        ("PLACED ( 500 0 )", "PLACED 500 0", r"t\.def line 8: expected a point '\( x y \)', got '500'"),
        ("- u inv", "- a inv", r"t\.def line 9: a second component is named 'a'"),
        ("- u inv", "u inv", r"t\.def line 9: expected an entry '- \.\.\. ;' or 'END COMPONENTS', got 'u'"),
        ("- p bump ;", "- p ;", r"t\.def line 10: expected '- name master \.\.\. ;'"),
        ("- a ram", "- a rom", r"t\.def has 1 component whose master is in no LEF file given: 'rom'; give the LEF"),
        ("( a a )", "( c a )", r"t\.def line 24: net 'm' names the component 'c', which is missing"),
        ("( a a )", "( a q )", r"t\.def line 24: net 'm' names the pin 'q' of 'a', which its master 'ram' lacks"),
        ("( PIN in )", "( PIN out )", r"t\.def line 23: net 'n' names the port 'out', which PINS lacks"),
        ("WEIGHT 7", "WEIGHT -7", r"t\.def line 23: the weight of net 'n' is negative"),
        ("END DESIGN", "", r"t\.def line 26: the file ends before its 'END DESIGN'; it is damaged"),
        ("END NETS\n", "", r"t\.def line 26: expected an entry '- \.\.\. ;' or 'END NETS', got 'END'"),
        ("- LAYER m RECT ( 0 0 ) ( 1 1 )", "- PLACEMENT RECT ( 0 0 )", r"t\.def line 17: a RECT of 1 points is none"),
    ],
)
def test_damaged_designs_are_refused(tiny: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        read(edited(tiny, (old, new)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("SIZE 4 BY 2", "SIZE 4 2", r"x\.lef line 3: expected 'SIZE width BY height ;', got '2'"),
        ("SIZE 4 BY 2", "SIZE -4 BY 2", r"x\.lef line 3: a size of -4 BY 2 is negative"),
        ("SIZE 4 BY 2 ;", "", r"x\.lef line 3: master 'ram' has no SIZE"),
        ("END ram", "END rom", r"x\.lef line 7: expected 'ram', the master that ends here, got 'rom'"),
        ("END z", "END y", r"x\.lef line 5: expected 'z', the pin that ends here, got 'y'"),
        ("3 1 4 2", "3 1 4", r"x\.lef line 4: a shape RECT of 3 numbers; expected two points at least"),
        ("3 1 4 2", "3 1 4 nan", r"x\.lef line 4: expected a finite number, got 'nan'"),
        ("END bump", "", r"x\.lef line \d+: .*'bump', the master that ends here"),
        ("SIZE 1 BY 2 ; END core", "END core", r"x\.lef line 2: site 'core' has no SIZE"),
    ],
)
def test_damaged_libraries_are_refused(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in LEF
    (tmp_path / "x.lef").write_text(LEF.replace(old, new, 1))
    with pytest.raises(UsageError, match=sentence) as caught:
        read_lef([tmp_path / "x.lef"])
    assert "\n" not in str(caught.value)


def test_without_a_library_a_design_has_no_sizes(tiny: Path) -> None:
    wanted = r"says where its 4 components stand, not how large they are: give the LEF files that define 'bump', 'inv'"
    with pytest.raises(UsageError, match=wanted):
        make_problem("ChipPlacement").load(str(tiny))
    with pytest.raises(UsageError, match=r"option plc goes with a netlist; .* is a DEF"):
        make_problem("ChipPlacement", lef=str(tiny.parent / "t.lef"), plc="a.plc").load(str(tiny))
    with pytest.raises(UsageError, match=r"LEF files go with a DEF; tiles:rows=2 is none"):
        make_problem("ChipPlacement", lef="t.lef").load("tiles:rows=2")
    with pytest.raises(UsageError, match=r"cannot be read: No such file"):
        make_problem("ChipPlacement", lef="none.lef").load(str(tiny))


def test_missing_masters_count_as_cells_on_request(tiny: Path) -> None:
    edited(tiny, ("- u inv", "- u nand"), ("( b z )", "( b z ) ( u y )"))
    with pytest.warns(Notice, match=r"1 component whose master is in no LEF file given \('nand'\), taken as standard"):
        netlist = read(tiny, missing="cells").netlist
    at = netlist.names.index("u")
    assert (netlist.kind[at], netlist.width[at], netlist.height[at]) == (CELL, 0.0, 0.0)


def test_polygons_become_rectangles() -> None:
    corner = [(0, 0), (10, 0), (10, 4), (6, 4), (6, 8), (0, 8)]  # the upper right corner is cut out
    inside, rest = rectangles_of(corner, "it"), outside(corner, "it")
    assert sum((r - x) * (t - y) for x, y, r, t in inside) == 10 * 4 + 6 * 4
    assert rest == [(6, 4, 10, 8)] and outside(corner[:1] + [(10, 8)], "it") == []
    assert rectangles_of([(5, 6), (1, 2)], "it") == [(1, 2, 5, 6)]


def test_a_die_that_is_a_polygon_blocks_what_is_cut_out(tiny: Path) -> None:
    cut = "( 0 0 ) ( 0 1000 ) ( 1200 1000 ) ( 1200 400 ) ( 2000 400 ) ( 2000 0 )"
    canvas = read(edited(tiny, ("( 0 0 ) ( 2000 1000 )", cut))).canvas
    assert (canvas.width, canvas.height) == (20.0, 10.0) and canvas.blockages == ((12.0, 4.0, 20.0, 10.0, 1.0),)


def test_names_and_bytes_are_no_part_of_the_problem(tiny: Path) -> None:
    problem = make_problem("ChipPlacement", lef=str(tiny.parent / "t.lef"))
    before = content_hash(problem.load(str(tiny)))
    assert content_hash(problem.load(str(edited(tiny, ("DESIGN tiny", "# a comment ;\nDESIGN other"))))) == before
    assert content_hash(problem.load(str(edited(tiny, ("MICRONS 100", "MICRONS 200"))))) != before
    plain = Canvas(1.0, 1.0, 1, 1)
    assert (
        content_hash(plain)
        == content_hash(Canvas(1.0, 1.0, 1, 1, database=None))
        != content_hash(Canvas(1.0, 1.0, 1, 1, database=100))
    )


@needs_lefdef
@pytest.mark.parametrize("ending", ["def", "lef"])
def test_damage_of_any_kind_is_a_sentence(ending: str) -> None:
    """Cut off anywhere, or with words dropped, doubled or replaced: read, or one sentence; never a traceback."""
    data = content(f"cases.{ending}").decode()
    if ending == "def":
        data = data[: data.index("ROW r3")] + data[data.index("ROW r49") :]
    words, draw = re.split(r"(\s+)", data), random.Random(5)
    texts = [data[: draw.randrange(len(data))] for _ in range(60)]
    for _ in range(240):
        some = list(words)
        for _ in range(draw.choice((1, 1, 1, 2, 5))):
            at = draw.randrange(len(some))
            some[at] = draw.choice(("", some[at] * 2, ";", "-1", "1e999", "(", "END", "+", draw.choice(words)))
        texts.append("".join(some))
    library = read_lef(libraries("cases.def"))
    design, refused = content("cases.def"), 0
    for text in texts:
        damaged = Library() if ending == "lef" else library
        try:
            if ending == "lef":
                with reading("x.lef"):
                    parse_lef(text, damaged, "x.lef")
            found, places = read_def(design if ending == "lef" else text.encode(), "x.def")
            with reading("x.def"):
                build(found, damaged, USUAL, places, design)
        except UsageError as error:
            refused += 1
            assert len(str(error).splitlines()) == 1 and str(error).endswith(".")
            assert not re.search(r"damaged or not of its format \(.*(index|object|NoneType)", str(error)), error
    assert 100 < refused < 300


def test_the_waste_of_a_row_is_circuit_trainings() -> None:
    """The table of its own test, `grid_size_selection_test.py`."""
    table = (((1, 2), 1, 0.25), ((2, 3), 3, 1 / 6), ((1, 2, 3), 3, 1 / 3), ((1, 5, 1), 3, 2 / 9), ((3,), 2, 0.5),
             ((6, 10), 4, 0.2), ((10, 6), 4, 0.2), ((1, 1, 1, 1), 2, 0.5), ((2, 2, 2, 2), 1, 1 / 9))  # fmt: skip
    for lengths, cell, share in table:
        assert grid_kernels.waste(np.array(lengths, float), float(cell)) == pytest.approx(share)


@needs_lefdef
@pytest.mark.parametrize(
    "name",
    ["ariane133_NanGate45", "ariane133_SKY130HD", "ariane136_NanGate45", "mempool_tile_NanGate45", "nvdla_ASAP7",
     "nvdla_NanGate45"],
)  # fmt: skip
def test_grids_are_those_that_circuit_training_chose(name: str) -> None:
    """Of the seven public designs only mempool_tile_ASAP7 has another one (21 x 31, here 22 x 30)."""
    chip = make_problem("ChipPlacement").load(f"ct/{name}")
    found = with_chosen_grid(chip.netlist, chip.canvas, chip.placement)
    assert (found.columns, found.rows) == (chip.canvas.columns, chip.canvas.rows)


def test_macros_that_fit_no_grid_get_a_usual_one(tiny: Path) -> None:
    edited(tiny.with_name("t.lef"), ("SIZE 4 BY 2", "SIZE 19 BY 9"))
    problem = make_problem("ChipPlacement", lef=str(tiny.parent / "t.lef"))
    with pytest.warns(Notice, match=r"32 x 16 are taken, or give -O grid=N"):
        canvas = problem.load(str(tiny)).canvas
    assert (canvas.columns, canvas.rows) == (32, 16)
    canvas = make_problem("ChipPlacement", lef=str(tiny.parent / "t.lef"), grid=10).load(str(tiny)).canvas
    assert (canvas.columns, canvas.rows) == (10, 5)


@needs_lefdef
@pytest.mark.parametrize("name", [name for name in DEFS if name.startswith("ariane") and "floorplan" not in name])
def test_public_placements_are_legal(name: str) -> None:
    chip = chip_of(name)
    verdict = problem_of(name).judge(chip, start_of(chip))
    assert verdict.feasible and verdict.metrics["overlaps"] == 0 and verdict.metrics["outside"] == 0
    assert len(chip.macros) == EXPECTED[name]["blocks"] and chip.gap == (2.0 if "asap7" in name else 10.0)


@needs_lefdef
def test_macros_are_named_as_in_circuit_trainings_netlist() -> None:
    chip, other = chip_of("ariane133_ng45_macros.def.gz"), make_problem("ChipPlacement").load("ct/ariane133_NanGate45")
    names = [{item.netlist.names[i] for i in np.flatnonzero(item.netlist.kind == HARD)} for item in (chip, other)]
    assert names[0] == names[1] and len(names[0]) == 133


def test_a_gzipped_design_and_library(tiny: Path) -> None:
    library = tiny.with_name("l.lef.gz")
    library.write_bytes(gzip.compress(LEF.encode()))
    packed = tiny.with_name("t.def.gz")
    packed.write_bytes(gzip.compress(tiny.read_bytes()))
    problem = make_problem("ChipPlacement", lef=(str(library),))
    assert content_hash(problem.load(str(packed))) == content_hash(problem.load(str(tiny)))
    assert problem.reads("a.def.gz", b"") and problem.reads("A.DEF", b"")
    assert not problem.reads("a.lef", b"")  # so that a folder of designs and libraries holds designs alone


def test_a_folder_holds_designs_and_libraries(tiny: Path) -> None:
    problem = make_problem("ChipPlacement")
    (tiny.parent / "placed.plc").write_text("")
    assert expand(problem.instance_sets(), str(tiny.parent), problem.reads) == [str(tiny)]
