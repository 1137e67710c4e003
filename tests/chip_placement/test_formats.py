"""Bookshelf and floorplanning designs, netlists written and cached: public files, and tiny ones by hand."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from public import CHIP, needs_chip

from sysgym import UsageError
from sysgym.chip_placement.formats import cache
from sysgym.chip_placement.formats.bookshelf import format_pl, parse_bookshelf, parse_pl, read_bookshelf
from sysgym.chip_placement.formats.cache import read_netlist_cached
from sysgym.chip_placement.formats.design import read_design
from sysgym.chip_placement.formats.floorplan import parse_floorplan, read_floorplan
from sysgym.chip_placement.formats.netlist import (
    CELL,
    HARD,
    PIN,
    PORT,
    SOFT,
    Netlist,
    parse_netlist,
    read_netlist,
)
from sysgym.chip_placement.formats.netlist_writer import format_netlist
from sysgym.chip_placement.formats.plc import Placement, netlist_placement
from sysgym.chip_placement.geometry.macros import positions
from sysgym.core.data import read_text

DESIGNS = (
    "ariane133_NanGate45", "ariane133_SKY130HD", "ariane136_NanGate45", "mempool_tile_ASAP7", "mempool_tile_NanGate45",
    "nvdla_ASAP7", "nvdla_NanGate45",
)  # fmt: skip
BLOCKS = {"apte": 9, "xerox": 10, "hp": 11, "ami33": 33, "ami49": 49, "n10": 10, "n30": 30, "n50": 50, "n100": 100,
          "n200": 200, "n300": 300}  # fmt: skip

TINY = {  # two rows of 10 sites, 2 high, from (5, 4); one macro, two cells, a pad and one that may be covered
    "nodes": "UCLA nodes 1.0\n# by hand\n\nNumNodes : 5\nNumTerminals : 3\n"
             "m 4 6 terminal\na 1 2\nb 3 2\npad 1 2 terminal\nni 8 8 terminal_NI\n",
    "nets": "UCLA nets 1.0\nNumNets : 3\nNumPins : 8\n"
            "NetDegree : 3 n0\n a I : 0 0\n m O : -1.5 2\n pad B\n"
            "NetDegree : 3 n1\n m I\n m I : 1 1\n b O : 0.5 0\nNetDegree : 2 n2\n ni I\n a I\n",
    "pl": "UCLA pl 1.0\nm 6 5 : FN /FIXED\na 5 4 : N\nb 7 6 : N\npad 4 4 : E /FIXED_NI\nni 0 0 : N\n",
    "scl": "UCLA scl 1.0\nNumRows : 2\n" + "".join(
        f"CoreRow Horizontal\n Coordinate : {y}\n Height : 2\n Sitewidth : 1\n Sitespacing : 1\n Siteorient : 1\n"
        f" SubrowOrigin : 5 NumSites : 9\nEnd\n" for y in (4, 6)),
    "wts": "UCLA wts 1.0\nn1 2.5\na 3\n",
}  # fmt: skip
BLOCK = "Outline: 20 10\nNumBlocks: 2\nNumTerminals: 1\n\nA 4 6\nB\t3 2\np terminal 20 5\n"
NETS = "NumNets: 2\nNetDegree: 2\nA\nB\nNetDegree: 3\np\nB\nA\n"


def same(one: Any, other: Any) -> bool:
    """Whether all fields of two netlists or placements are equal."""
    return all(np.array_equal(getattr(one, item.name), getattr(other, item.name)) for item in fields(one))


def test_a_tiny_bookshelf_design_by_hand() -> None:
    netlist, canvas, placement = parse_bookshelf(TINY, "tiny")
    assert netlist.kind.tolist() == [HARD, CELL, CELL, PORT, PORT, PIN, PIN, PIN, PIN]
    assert netlist.names == ("m", "a", "b", "pad", "ni", "m.p0", "b.p0", "m.p1", "m.p2")
    assert netlist.parent.tolist() == [0, 1, 2, 3, 4, 0, 2, 0, 0]
    assert netlist.pins.tolist() == [5, 1, 3, 6, 7, 8, 4, 1] and netlist.ptr.tolist() == [0, 3, 6, 8]
    assert netlist.weight.tolist() == [1.0, 2.5, 1.0]
    assert (canvas.width, canvas.height, canvas.columns, canvas.rows, canvas.origin) == (10.0, 4.0, 5, 2, (5.0, 4.0))
    assert (placement.x[0], placement.y[0]) == (6 + 2 - 5, 5 + 3 - 4)
    assert (placement.x[3], placement.y[3]) == (4 + 1 - 5, 4 + 0.5 - 4)  # turned by a quarter
    assert placement.fixed.tolist() == (netlist.kind == PORT).tolist() and placement.placed.all()
    assert (netlist.x[5], netlist.y[5]) == (3 + 1.5, 4 + 2)  # mirrored
    assert np.array_equal(positions(netlist, placement), [netlist.x, netlist.y])


def test_nodes_named_like_pins_are_refused() -> None:
    with pytest.raises(UsageError, match=r"has nodes named as its pins are named here \(node\.p0\)"):
        parse_bookshelf({part: re.sub(r"\bni\b", "m.p0", text) for part, text in TINY.items()}, "bad")


def test_positions_are_written_and_read_back() -> None:
    netlist, canvas, placement = parse_bookshelf(TINY, "tiny")
    text = format_pl(netlist, canvas, placement)
    assert text.splitlines()[2] == "m 6 5 : FN /FIXED" and text.splitlines()[5] == "pad 4 4 : E /FIXED_NI"
    assert same(parse_pl(text, netlist, canvas), placement)
    some = parse_pl("m 7.5 4 : S\n", netlist, canvas)
    assert some.placed.tolist() == [True, False, False, False, False, True, False, True, True]
    assert format_pl(netlist, canvas, some, plain=True) == "m 7.5 4\n"
    assert parse_pl("m 7.5 4\n", netlist, canvas).x[0] == 4.5


def test_the_parts_are_found_beside_each_other(tmp_path: Path) -> None:
    for part, text in TINY.items():
        (tmp_path / f"tiny.{part}.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "other.aux").write_text("RowBasedPlacement : " + " ".join(f"tiny.{part}" for part in TINY) + "\n")
    first = read_bookshelf(tmp_path / "tiny.nodes.gz")
    for name in ("other.aux", "tiny.nets.gz", "tiny.pl.gz", "tiny.scl.gz"):
        _, *found = read_design(tmp_path / name)
        netlist = found[0]
        assert same(replace(netlist, name="tiny"), first[0]) and found[1] == first[1] and same(found[2], first[2])
    (tmp_path / "tiny.wts.gz").unlink()
    assert read_bookshelf(tmp_path / "tiny.pl.gz")[0].weight.tolist() == [1.0, 1.0, 1.0]
    (tmp_path / "tiny.scl.gz").unlink()
    with pytest.raises(UsageError, match=r"tiny\.scl \(or tiny\.scl\.gz\) must lie beside it"):
        read_bookshelf(tmp_path / "tiny.nodes.gz")
    for name in ("/etc/tiny.nodes", "../tiny.nodes", "sub/tiny.nodes"):
        (tmp_path / "far.aux").write_text(f"RowBasedPlacement : {name} tiny.nets tiny.pl tiny.scl\n")
        with pytest.raises(UsageError, match=f"names the file '{name}'; the parts of a design must lie beside it"):
            read_bookshelf(tmp_path / "far.aux")
    (tmp_path / "short.aux").write_text("RowBasedPlacement : tiny.nodes\n")
    with pytest.raises(UsageError, match=r"names no \.nets file"):
        read_bookshelf(tmp_path / "short.aux")


@pytest.mark.parametrize(("sites", "cell"), [(256, 2.0), (257, 4.0), (1200, 16.0)])
def test_cells_double_until_the_grid_is_small_enough(sites: int, cell: float) -> None:
    scl = TINY["scl"].replace("NumSites : 9", f"NumSites : {2 * sites}")
    _, canvas, _ = parse_bookshelf({**TINY, "scl": scl}, "wide")
    assert canvas.cell == (cell, cell) and canvas.columns == -(-2 * sites // cell) and canvas.columns <= 256


@pytest.mark.parametrize(
    ("part", "old", "new", "sentence"),
    [
        ("nodes", "NumNodes : 5", "NumNodes : 6", "bad.nodes lists 5, its NumNodes says 6"),
        ("nodes", "NumTerminals : 3", "NumTerminals : x", "bad.nodes line 5: expected 'NumTerminals : count'"),
        ("nodes", "a 1 2", "a 1", "bad.nodes line 7: expected 'name width height .terminal"),
        ("nodes", "a 1 2", "a -1 2", "bad.nodes line 7: expected 'name width"),
        ("nodes", "a 1 2", "a nan 2", "bad.nodes line 7: expected 'name width"),
        ("nodes", "a 1 2", "a 1 2 fixed", "bad.nodes line 7: expected 'name width"),
        ("nodes", "a 1 2", "b 1 2", "bad.nodes line 8: a second node is named 'b'"),
        ("nets", "NumPins : 8", "NumPins : 9", "bad.nets lists 8, its NumPins says 9"),
        ("nets", "NetDegree : 2", "NetDegree : 3", "bad.nets line 12: a net of 3 pins lists 2"),
        ("nets", "NetDegree : 2", "NetDegree : two", "bad.nets line 12: expected 'NetDegree : count'"),
        ("nets", "3 n1", "3 n0", "bad.nets line 8: a second net is named 'n0'"),
        ("nets", "ni I", "nu I", "bad.nets line 13: 'nu' is no node of the design within a net"),
        ("nets", "-1.5 2", "-1.5", "bad.nets line 6: expected 'node direction : x_offset y_offset'"),
        ("nets", "-1.5 2", "%1 2", "bad.nets line 6: expected 'node direction"),
        ("pl", "a 5 4 : N\n", "", "bad.pl gives 'a' no position; it must list every node"),
        ("pl", "a 5 4 : N", "m 5 4 : N", "bad.pl line 3: 'm' has a position already"),
        ("pl", "a 5 4 : N", "q 5 4 : N", "bad.pl line 3: 'q' is no node of bad"),
        ("pl", "a 5 4 : N", "a 5 4 : NE", "bad.pl line 3: 'a' has the orientation 'NE', which is none"),
        ("pl", "a 5 4 : N", "a 5 4 : N FIXED", "bad.pl line 3: expected 'name x y : orientation"),
        ("pl", "a 5 4 : N", "a 5 inf : N", "bad.pl line 3: expected 'name x y : orientation"),
        ("scl", "NumRows : 2", "NumRows : 3", "bad.scl lists 2, its NumRows says 3"),
        ("scl", "Height : 2", "Height : 0", "bad.scl line 3: every row needs the same Height above 0"),
        ("scl", "Coordinate : 4", "Coordinate : x", "bad.scl line 4: expected 'Coordinate : y'"),
        ("scl", "SubrowOrigin : 5 NumSites : 9", "SubrowOrigin : 5", "bad.scl line 9: expected 'SubrowOrigin : x"),
        ("scl", "NumSites : 9", "NumSites : 0", "bad.scl line 3: the rows hold no sites"),
        ("scl", "SubrowOrigin", "Origin", "bad.scl holds no rows"),
        ("scl", "NumRows : 2\nCoreRow Horizontal", "NumRows : 2", "bad.scl line 3: expected 'CoreRow Horizontal'"),
        ("wts", "n1 2.5", "n9 2.5", "bad.wts line 2: 'n9' is no net of the design"),
        ("wts", "n1 2.5", "n1 -2", "bad.wts line 2: expected 'net weight'"),
    ],
)  # fmt: skip
def test_damaged_bookshelf_files_are_refused(part: str, old: str, new: str, sentence: str) -> None:
    assert old in TINY[part]
    with pytest.raises(UsageError, match=sentence) as caught:
        parse_bookshelf({**TINY, part: TINY[part].replace(old, new)}, "bad")
    assert "\n" not in str(caught.value)


@needs_chip
def test_ibm01_has_the_counts_that_its_publishers_state() -> None:
    netlist, canvas, placement = read_bookshelf(CHIP / "bookshelf" / "ibm01.nodes.gz")
    assert np.bincount(netlist.kind).tolist() == [246, 246, 0, 2978, 12260]
    assert netlist.nets == 14111 and len(netlist.pins) == 50566
    assert (canvas.width, canvas.height, canvas.columns, canvas.rows) == (2304.0, 2304.0, 144, 144)
    touched = [set(netlist.parent[at[netlist.kind[at] == PIN]]) for at in np.split(netlist.pins, netlist.ptr[1:-1])]
    shared = [macros for macros in touched if len(macros) > 1]
    assert len(shared) == 908 and sum(map(len, shared)) == 1928
    assert same(parse_pl(format_pl(netlist, canvas, placement), netlist, canvas), placement)
    lines = read_text(CHIP / "bookshelf" / "ibm01.pl.gz").splitlines()  # the file itself, another way
    corners = {words[0]: (float(words[1]), float(words[2])) for words in map(str.split, lines) if len(words) == 5}
    for at in np.flatnonzero(netlist.kind != PIN):
        x, y = corners[netlist.names[at]]
        assert placement.x[at] == x + netlist.width[at] / 2 and placement.y[at] == y + netlist.height[at] / 2


def test_a_tiny_floorplan_by_hand() -> None:
    netlist, canvas, placement = parse_floorplan(BLOCK, NETS, "tiny", cells=8)
    assert netlist.kind.tolist() == [HARD, HARD, PORT] and netlist.pins.tolist() == [0, 1, 2, 1, 0]
    assert netlist.width.tolist() == [4.0, 3.0, 0.0] and netlist.height.tolist() == [6.0, 2.0, 0.0]
    assert (canvas.width, canvas.height, canvas.columns, canvas.rows) == (20.0, 10.0, 8, 4)
    assert placement.placed.tolist() == placement.fixed.tolist() == [False, False, True]
    assert (placement.x[2], placement.y[2]) == (20.0, 5.0)
    solved = Placement(np.array([2.0, 10, 20]), np.array([3.0, 9, 5]), placement.orientation, np.ones(3, bool),
                       placement.fixed)  # fmt: skip
    assert format_pl(netlist, canvas, solved, plain=True) == "A 0 0\nB 8.5 8\np 20 5\n"
    assert same(replace(parse_pl(format_pl(netlist, canvas, solved), netlist, canvas), marks=None), solved)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("Outline: 20 10\n", "", "bad.block names no canvas; expected a line 'Outline: width height'"),
        ("Outline: 20 10", "Outline: 20", "bad.block line 1: expected 'Outline: width height'"),
        ("NumBlocks: 2", "NumBlocks: 3", "bad.block lists 2, its NumBlocks says 3"),
        ("NumTerminals: 1\n", "", "bad.block lists 1, its NumTerminals says nothing"),
        ("A 4 6", "A 4", "bad.block line 5: expected 'name width height'"),
        ("A 4 6", "A 4 0", "bad.block line 5: block 'A' has no area"),
        ("A 4 6", "B 4 6", "bad.block line 6: a second block or terminal is named 'B'"),
        ("terminal 20 5", "terminal 20", "bad.block line 7: expected 'name terminal x y'"),
        ("NumNets: 2", "NumNets: 3", "bad.nets lists 2 nets, its NumNets says 3"),
        ("NetDegree: 3", "NetDegree: 4", "bad.nets line 5: a net of 4 pins lists 3"),
        ("\nB\nA\n", "\nC\nA\n", "bad.nets line 7: 'C' is no block or terminal within a net"),
    ],
)
def test_damaged_floorplans_are_refused(old: str, new: str, sentence: str) -> None:
    assert old in BLOCK + NETS
    with pytest.raises(UsageError, match=sentence):
        parse_floorplan(BLOCK.replace(old, new), NETS.replace(old, new), "bad", sources=("bad.block", "bad.nets"))


@needs_chip
@pytest.mark.parametrize("name", BLOCKS)
def test_every_public_floorplan_is_read(name: str) -> None:
    found, netlist, canvas, placement = read_design(CHIP / "floorplan" / f"{name}.nets")
    assert found == name and canvas is not None and placement is not None
    assert same(read_floorplan(CHIP / "floorplan" / f"{name}.block")[0], netlist)
    assert (netlist.kind == HARD).sum() == BLOCKS[name]
    assert max(canvas.columns, canvas.rows) == 64 and 0.9 < canvas.cell[0] / canvas.cell[1] < 1.1
    filled = (netlist.width * netlist.height).sum() / (canvas.width * canvas.height)
    assert 0.2 < filled < 0.9
    text = (CHIP / "floorplan" / f"{name}.nets").read_text()
    assert netlist.nets == text.count("NetDegree") == int(text.split()[1])
    assert len(netlist.pins) == sum(map(int, re.findall(r"NetDegree: *(\d+)", text)))


@needs_chip
@pytest.mark.parametrize("design", DESIGNS)
def test_published_netlists_are_written_byte_for_byte(design: str) -> None:
    path = CHIP / "ct" / design / "netlist.pb.txt.gz"
    assert format_netlist(read_netlist(path)) == read_text(path)


@needs_chip
def test_unit_test_netlists_survive_writing() -> None:
    paths = sorted((CHIP / "tests").glob("*/*.pb.txt*"))
    assert len(paths) > 20
    for path in paths:
        if path.name != "ariane_test.pb.txt.gz":  # pins without their macros
            netlist = read_netlist(path)
            again = parse_netlist(format_netlist(netlist), netlist.name)
            assert same(replace(again, remarks=netlist.remarks), netlist), path


def turned_netlist() -> Netlist:
    """A turned macro with a pin, a soft macro, a port and a cell that drives them."""
    netlist, _, _ = parse_bookshelf(TINY, "tiny")
    kind = netlist.kind.copy()
    kind[2] = SOFT
    return replace(netlist, kind=kind, x=netlist.x + 0.1)


def test_writing_keeps_every_number_and_takes_a_placement() -> None:
    netlist = replace(turned_netlist(), names=tuple(f"Grp_{name}" if name == "b" else name
                                                    for name in turned_netlist().names))  # fmt: skip
    again = parse_netlist(format_netlist(netlist), "tiny")
    order = np.argsort(netlist.pins[netlist.ptr[:-1]])  # nets come back by their drivers
    assert same(replace(again, ptr=netlist.ptr, pins=netlist.pins, weight=netlist.weight), netlist)
    assert np.array_equal(again.weight, netlist.weight[order])
    moved = replace(netlist_placement(netlist), x=netlist_placement(netlist).x + 2)
    assert np.allclose(parse_netlist(format_netlist(netlist, moved), "tiny").x, netlist.x + 2)


def test_netlists_that_the_format_cannot_hold() -> None:
    netlist = turned_netlist()
    with pytest.raises(UsageError, match=r"several nets driven by 'm\.p0'"):
        format_netlist(replace(netlist, pins=netlist.pins[[0, 1, 2, 0, 1, 2, 3, 4]]))
    with pytest.raises(UsageError, match="a net of weight 3 driven by the port 'ni'"):
        format_netlist(replace(netlist, weight=np.array([1.0, 1.0, 3.0])))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of cached netlists, an empty one."""
    monkeypatch.setattr("sysgym.core.data.cache_folder", lambda: tmp_path / "cache" / "data")
    return tmp_path / "cache" / "parsed"


def stored(tmp_path: Path) -> Path:
    """A netlist file in a folder that names it."""
    path = tmp_path / "tiny" / "netlist.pb.txt.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(format_netlist(parse_bookshelf(TINY, "tiny")[0]).encode()))
    return path


def test_a_netlist_is_parsed_once(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(tmp_path)
    first = read_netlist_cached(path)
    assert len(list(kept.iterdir())) == 1
    monkeypatch.setattr(cache, "parse_netlist", None)
    again = read_netlist_cached(path)
    assert same(again, first) and same(again, read_netlist(path)) and again.name == "tiny"
    assert all(getattr(again, item.name).dtype == getattr(first, item.name).dtype
               for item in fields(Netlist) if item.name not in ("name", *cache.TEXTS))  # fmt: skip
    other = tmp_path / "copy" / path.name
    other.parent.mkdir()
    other.write_bytes(path.read_bytes())
    assert read_netlist_cached(other).name == "copy"  # one content, two names


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign"])
def test_a_damaged_cache_is_written_anew(tmp_path: Path, kept: Path, damage: str) -> None:
    path = stored(tmp_path)
    first = read_netlist_cached(path)
    file = next(kept.iterdir())
    good = file.read_bytes()
    file.write_bytes({"cut": good[: len(good) // 2], "empty": b"", "foreign": b"no archive"}[damage])
    assert same(read_netlist_cached(path), first) and file.read_bytes() == good
    assert list(kept.iterdir()) == [file]


def test_no_flipped_bit_of_a_cache_goes_unnoticed(tmp_path: Path, kept: Path) -> None:
    path = stored(tmp_path)
    first = read_netlist_cached(path)
    file = next(kept.iterdir())
    good = file.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(good), 150):
        file.write_bytes(good[:at] + bytes([good[at] ^ 16]) + good[at + 1 :])
        assert same(read_netlist_cached(path), first), at


def test_without_a_cache_folder_netlists_are_read_all_the_same(tmp_path: Path, kept: Path) -> None:
    path = stored(tmp_path)
    kept.parent.write_text("a file where the folder would be")
    assert same(read_netlist_cached(path), read_netlist(path))
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_netlist_cached(tmp_path / "none.pb.txt")


@needs_chip
def test_designs_are_told_by_their_files(kept: Path) -> None:
    name, netlist, canvas, placement = read_design(CHIP / "ct" / "mempool_tile_ASAP7" / "netlist.pb.txt.gz")
    assert name == "mempool_tile_ASAP7" and canvas is None and placement is None and len(list(kept.iterdir())) == 1
    assert (netlist.kind == HARD).sum() == 20
    assert read_design(CHIP / "bookshelf" / "ibm01.nets.gz")[1].nets == 14111
    assert read_design(CHIP / "floorplan" / "n10.nets")[1].nets == 118


@pytest.mark.parametrize("name", ["top.lef", "tech.LEF.gz"])
def test_a_library_is_no_design(name: str) -> None:
    with pytest.raises(
        UsageError, match=rf"{re.escape(name)} is a LEF file, a library; give the DEF of the design, and"
    ):
        read_design(name)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"top\.v is no design file by its ending; expected netlist\.pb\.txt"):
        read_design("top.v")
    (tmp_path / "a.nets").write_text(NETS)
    with pytest.raises(UsageError, match=r"a\.block must lie beside it"):
        read_design(tmp_path / "a.nets")


@pytest.mark.parametrize("change", ["weight", "pins", "digest", "names"])
def test_a_changed_cache_changes_nothing(tmp_path: Path, kept: Path, change: str) -> None:
    path = stored(tmp_path)
    first = read_netlist_cached(path)
    file = next(kept.iterdir())
    good = file.read_bytes()
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays[change] = {"weight": arrays["weight"] * 0 + 0.001}.get(change, arrays[change] + 1)
    np.savez(file, **arrays)
    assert same(read_netlist_cached(path), first) and file.read_bytes() == good


def test_a_cache_of_another_file_or_parser_is_not_believed(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path)
    first = read_netlist_cached(path)
    file = next(kept.iterdir())
    good = file.read_bytes()
    text = gzip.decompress(path.read_bytes()).decode()
    path.write_bytes(gzip.compress(text.encode() + b"# another\n"))
    (file.parent / f"{hashlib.sha256(path.read_bytes()).hexdigest()}-{cache.parser_hash()[:16]}.npz").write_bytes(good)
    calls = []
    monkeypatch.setattr(cache, "parse_netlist", lambda *words: calls.append(1) or parse_netlist(*words))
    assert same(read_netlist_cached(path), first) and calls == [1]
    monkeypatch.setattr(cache, "parser_hash", lambda: "f" * 64)
    assert same(read_netlist_cached(path), first) and calls == [1, 1]


def test_indices_of_a_cache_stay_within_its_nodes(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even of one whose digest somebody has made to fit."""
    path = stored(tmp_path)
    first = read_netlist_cached(path)
    file = next(kept.iterdir())
    good = file.read_bytes()
    key = hashlib.sha256(path.read_bytes()).digest()
    for name in ("pins", "parent", "kind", "orientation", "ptr"):
        with np.load(file) as archive:
            arrays = {name: archive[name] for name in archive.files}
        arrays[name] = arrays[name] + 100
        np.savez(file, **{**arrays, "digest": cache._digest(key, arrays)})
        assert same(read_netlist_cached(path), first) and file.read_bytes() == good
