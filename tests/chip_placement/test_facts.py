"""What design files say is neither thrown away nor guessed in silence: one test for each kind of fact."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sysgym
from sysgym import UsageError, make_problem
from sysgym.chip_placement.formats.bookshelf import parse_bookshelf
from sysgym.chip_placement.formats.netlist import HARD, PORT, SOFT, parse_netlist
from sysgym.chip_placement.formats.netlist_writer import format_netlist
from sysgym.chip_placement.formats.plc import Canvas
from sysgym.chip_placement.load import with_fixed
from sysgym.core.errors import Notice
from sysgym.core.solutions import read_solution, write_solution
from sysgym_agents import Budget
from sysgym_agents.core import make_agent

PLC = "# Columns : 20  Rows : 10\n# Width : 100.0  Height : 50.0\n"
ROWS = "UCLA scl 1.0\nNumRows : 4\n" + "".join(
    f"CoreRow Horizontal\n Coordinate : {y}\n Height : 10\n Sitewidth : 1\n Sitespacing : 1\n"
    f" SubrowOrigin : 0 NumSites : 85\nEnd\n" for y in (0, 10, 20, 30)
)  # fmt: skip
SHELF = {
    "nodes": "UCLA nodes 1.0\nm0 20 20 terminal\nm1 30 20\np0 1 1 terminal\n",
    "nets": "UCLA nets 1.0\nNetDegree : 3 n0\n m0 O : 5 -4.5\n m1 I : -10 2.5\n p0 I\nNetDegree : 2\n m1 O\n m0 I\n",
    "pl": "UCLA pl 1.0\nm0 0 0 : N /FIXED\nm1 40 20 : N\np0 0 39 : N\n", "scl": ROWS,
    "aux": "RowBasedPlacement : x.nodes x.nets x.pl x.scl\n",
}  # fmt: skip
BLOCKS = {
    "blocks": "UCSC blocks 1.0\nNumSoftRectangularBlocks : 1\nNumHardRectilinearBlocks : 2\nNumTerminals : 2\n\n"
              "a hardrectilinear 4 (0, 0) (0, 30) (20, 30) (20, 0)\nb hardrectilinear 4 (5,5) (5,15) (45,15) (45,5)\n"
              "s softrectangular 400 4.0 9.0\np1 terminal\np2 terminal\n",
    "nets": "UCLA nets 1.0\nNumNets : 2\nNumPins : 5\nNetDegree : 3\np1 B\na B : %10.0 %-50.0\nb B\n"
            "NetDegree : 2\nb B\ns B\n",
    "pl": "UCLA pl 1.0\na 0 0\nb 0 0\ns 0 0\np1 0 12\np2 60 60\n",
}  # fmt: skip


def attr(key: str, value: object) -> str:
    kind = "placeholder" if isinstance(value, str) else "f"
    shown = f'"{value}"' if isinstance(value, str) else value
    return f'attr {{ key: "{key}" value {{ {kind}: {shown} }} }} '


def node(name: str, inputs: tuple[str, ...] = (), **attributes: object) -> str:
    links = "".join(f'input: "{item}" ' for item in inputs)
    return f'node {{ name: "{name}" {links}' + "".join(attr(*item) for item in attributes.items()) + "}\n"


def macro(name: str, width: float, height: float, x: float, y: float) -> str:
    return node(name, type="macro", width=width, height=height, x=x, y=y)


PIN = node("A/o", ("B",), type="macro_pin", macro_name="A", x_offset=10.0, y_offset=0.0)
PAIR = macro("A", 20.0, 10.0, 10.0, 5.0) + PIN + macro("B", 20.0, 10.0, 70.0, 35.0)


def saved(folder: Path, files: dict[str, str], stem: str = "x") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for part, text in files.items():
        (folder / (part if "." in part else f"{stem}.{part}")).write_text(text, encoding="utf-8")
    return folder


def judged(path: Path, solution: Path, **options: object) -> sysgym.Verdict:
    problem = make_problem("ChipPlacement", **options)
    chip = problem.load(str(path))
    return problem.judge(chip, read_solution(problem, chip, solution))


def started(path: Path, **options: object) -> sysgym.Verdict:
    problem = make_problem("ChipPlacement", **options)
    chip = problem.load(str(path))
    return problem.judge(chip, make_agent("spiral").solve(problem, chip, np.random.default_rng(0), Budget()))


# ------------------------------------------------------------------------------------------------ the canvas


@pytest.mark.parametrize("box", ["{0.0 0.0} {100.0 50.0}", "{0 0 100 50}", "0 0 100.0 50.0"])
def test_comments_of_a_netlist_give_canvas_grid_and_blockages(tmp_path: Path, box: str) -> None:
    text = f"# FP bbox: {box}\n# Columns : 20  Rows : 10\n# Blockage : 90 40 80 50 1\n" + PAIR
    path = saved(tmp_path, {"n.pb.txt": text}) / "n.pb.txt"
    chip = make_problem("ChipPlacement").load(str(path))
    assert chip.canvas == Canvas(100.0, 50.0, 20, 10, blockages=((80.0, 40.0, 90.0, 50.0, 1.0),))
    assert started(path).feasible and "canvas_guessed" not in started(path).metrics
    assert parse_netlist(format_netlist(chip.netlist), "n").comments == chip.netlist.comments  # written back
    again = make_problem("ChipPlacement").load(str(path))  # from the cache
    assert again.canvas == chip.canvas


def test_a_guessed_canvas_is_announced_and_marked(tmp_path: Path) -> None:
    path = saved(tmp_path, {"n.pb.txt": PAIR}) / "n.pb.txt"
    with pytest.warns(Notice) as told:
        verdict = started(path)
    assert "a square of 25.8199 x 25.8199 is guessed" in str(told[0].message)
    assert "10 x 10 cells are guessed" in str(told[1].message) and verdict.metrics["canvas_guessed"] == 1.0
    path.write_text("# FP bbox: {0 0} {100 50}\n" + PAIR)
    with pytest.warns(Notice, match="10 x 10 cells are guessed"):
        assert started(path).metrics["canvas_guessed"] == 1.0


@pytest.mark.parametrize(
    ("comment", "sentence"),
    [
        ("# FP bbox: {5 5} {100 50}", r"the floorplan begins at \(5, 5\), expected \(0, 0\)"),
        ("# FP bbox: {0 0} {100 x}", "expected '# FP bbox: {x0 y0} {x1 y1}', got"),
        ("# Blockage : 1 2 3", "expected '# Blockage : x0 y0 x1 y1 rate', got"),
        ("# FP bbox: {0 0} {1-2 5}", "holds a word for a number"),
        ("# FP bbox: {0 0} {-3 5}", "sizes that are not finite and positive"),
    ],
)
def test_odd_comments_get_a_sentence(tmp_path: Path, comment: str, sentence: str) -> None:
    path = saved(tmp_path, {"n.pb.txt": f"{comment}\n# Columns : 20  Rows : 10\n{PAIR}"}) / "n.pb.txt"
    with pytest.raises(UsageError, match=sentence):
        make_problem("ChipPlacement").load(str(path))


def test_comments_that_differ_are_told_and_the_last_counts(tmp_path: Path) -> None:
    for above, told in (("# FP bbox: {0 0} {300 50}\n", 1), ("# Width : 100  Height : 50\n", 0)):
        text = f"{above}# FP bbox: {{0 0}} {{100 50}}\n# Columns : 20  Rows : 10\n{PAIR}"
        path = saved(tmp_path, {"n.pb.txt": text}) / "n.pb.txt"
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", Notice)
            assert make_problem("ChipPlacement").load(str(path)).canvas.width == 100.0
        assert len(said) == told and all("differs from a line above" in str(one.message) for one in said)


def test_a_placement_file_and_comments_that_differ_are_told(tmp_path: Path) -> None:
    text = "# FP bbox: {0 0} {300 50}\n# Blockage : 80 40 90 50 1\n" + PAIR
    plc = PLC + "0 10 5 N 0\n2 70 35 N 0\n"
    path = saved(tmp_path, {"n.pb.txt": text, "initial.plc": plc}) / "n.pb.txt"
    with pytest.warns(Notice) as told:
        chip = make_problem("ChipPlacement").load(str(path))
    said = " ".join(str(item.message) for item in told)
    assert "a canvas of 100 x 50, the comments of the netlist" in said and "say 300 x 50; the former counts" in said
    assert "1 blockages that only the comments" in said and chip.canvas.blockages == ((80.0, 40.0, 90.0, 50.0, 1.0),)


def test_the_core_ends_where_its_rows_do(tmp_path: Path) -> None:
    folder = saved(tmp_path, SHELF | {"pl": SHELF["pl"].replace(" /FIXED", "")})
    canvas = parse_bookshelf({part: text for part, text in SHELF.items() if part != "aux"}, "x")[1]
    assert (canvas.width, canvas.columns, canvas.limits) == (90.0, 9, (85.0, 40.0))
    (folder / "out.pl").write_text("m0 0 0\nm1 60 20\n")
    verdict = judged(folder / "x.aux", folder / "out.pl", mode="hpwl")
    assert verdict.violations == ("1 hard macros stick out of the canvas",) and not verdict.feasible
    (folder / "in.pl").write_text("m0 0 0\nm1 55 20\n")
    assert judged(folder / "x.aux", folder / "in.pl", mode="hpwl").feasible  # up to 85 itself
    for agent in ("random", "wiremask", "spiral"):
        problem = make_problem("ChipPlacement", mode="hpwl")
        chip = problem.load(str(folder / "x.aux"))
        found = [make_agent(agent).solve(problem, chip, np.random.default_rng(n), Budget()) for n in range(8)]
        assert all(problem.judge(chip, one).metrics["outside"] == 0 for one in found), agent
    assert sysgym.content_hash(chip) != sysgym.content_hash(replace(chip, canvas=replace(canvas, core=None)))


def test_sites_that_are_narrower_than_their_spacing_end_the_core() -> None:
    texts = {part: text for part, text in SHELF.items() if part != "aux"}
    texts["scl"] = ROWS.replace("Sitewidth : 1", "Sitewidth : 0.5")
    assert parse_bookshelf(texts, "x")[1].limits == (84.5, 40.0)


# ------------------------------------------------------------------------------------------------ macros


def test_fixed_macros_stay_where_asked_and_are_written_back(tmp_path: Path) -> None:
    folder = saved(tmp_path, SHELF)
    (folder / "moved.pl").write_text(SHELF["pl"].replace("m0 0 0", "m0 10 10"))
    with pytest.warns(Notice, match="1 macros that are marked /FIXED are placed all the same.*keep_fixed=true"):
        assert judged(folder / "x.aux", folder / "moved.pl", mode="hpwl").feasible
    verdict = judged(folder / "x.aux", folder / "moved.pl", mode="hpwl", keep_fixed=True)
    assert (
        not verdict.feasible and verdict.metrics["moved"] == 1 and verdict.violations == ("1 fixed macros were moved",)
    )
    problem = make_problem("ChipPlacement", mode="hpwl", keep_fixed=True)
    chip = problem.load(str(folder / "x.aux"))
    assert chip.placement.fixed[:3].tolist() == [True, False, True] and with_fixed(chip).placement.fixed[0]
    solution = make_agent("wiremask").solve(problem, chip, np.random.default_rng(0), Budget())
    write_solution(problem, chip, solution, folder / "out.pl")
    lines = (folder / "out.pl").read_text().splitlines()
    assert lines[2] == "m0 0 0 : N /FIXED" and not lines[3].endswith("/FIXED")
    assert problem.judge(chip, read_solution(problem, chip, folder / "out.pl")).feasible


def test_macros_whose_names_start_with_grp_are_soft(tmp_path: Path) -> None:
    text = PAIR + macro("Grp12", 8.0, 8.0, 12.0, 6.0)
    folder = saved(tmp_path, {"n.pb.txt": text, "initial.plc": PLC + "0 10 5 N 0\n2 70 35 N 0\n3 12 6 N 0\n"})
    assert parse_netlist(text, "n").kind.tolist()[-1] == SOFT
    assert judged(folder / "n.pb.txt", folder / "initial.plc").feasible


def test_the_square_of_a_soft_macro_is_named(tmp_path: Path) -> None:
    text = macro("A", 20.0, 10.0, 30.0, 5.0) + PIN.replace('"B"', '"Grp_0"') + macro("Grp_0", 2.0, 50.0, 1.0, 25.0)
    folder = saved(tmp_path, {"n.pb.txt": text, "initial.plc": PLC + "0 30 5 N 0\n2 1 25 N 0\n"})
    verdict = judged(folder / "n.pb.txt", folder / "initial.plc")
    assert "1 soft macros stick out" in verdict.violations[0] and "squares of their area" in verdict.violations[0]
    assert "-O square_soft=false" in verdict.violations[0]
    assert judged(folder / "n.pb.txt", folder / "initial.plc", square_soft=False).feasible


def test_weights_of_ports_do_not_count_and_are_told(tmp_path: Path) -> None:
    port = node("p", ("A/o",), type="port", x=0.0, y=25.0, weight=3.0)
    path = saved(tmp_path, {"n.pb.txt": PAIR + port, "initial.plc": PLC + "0 10 5 N 0\n2 70 35 N 0\n3 0 25 - 1\n"})
    for _ in range(2):  # parsed, then from the cache
        with pytest.warns(Notice, match="1 ports have a weight, which does not count: nets that ports drive weigh 1"):
            chip = make_problem("ChipPlacement").load(str(path / "n.pb.txt"))
    assert chip.netlist.weight.tolist() == [1.0, 1.0] and chip.netlist.kind[3] == PORT


def test_a_macro_that_is_wider_than_the_canvas_is_named(tmp_path: Path) -> None:
    text = PAIR.replace("f: 20.0", "f: 120.0", 1)
    path = saved(tmp_path, {"n.pb.txt": text, "initial.plc": PLC + "0 50 25 N 0\n2 2 2 N 0\n"}) / "n.pb.txt"
    with pytest.raises(UsageError, match=r"macro 'A' is 120 wide, the canvas of .* is 100 wide: it fits nowhere"):
        started(path)


@pytest.mark.parametrize("facing", ["R0", "n", "NE"])
def test_words_that_are_no_orientation_are_named_with_those_that_are(tmp_path: Path, facing: str) -> None:
    plc = PLC + f"0 10 5 {facing} 1\n2 70 35 N 0\n"
    path = saved(tmp_path, {"n.pb.txt": PAIR, "initial.plc": plc}) / "n.pb.txt"
    with pytest.raises(
        UsageError, match=f"has the orientation '{facing}', which is none; expected one of N, FN, S, FS"
    ):
        make_problem("ChipPlacement").load(str(path))


def test_nets_without_pins_cost_nothing(tmp_path: Path) -> None:
    files = SHELF | {"nets": SHELF["nets"] + "NetDegree : 0 n3\n", "wts": "n0 2\nn3 5\n"}
    folder = saved(tmp_path, files | {"aux": SHELF["aux"].replace("x.nets", "x.nets x.wts")})
    with pytest.warns(Notice, match="1 nets without pins are left out"):
        chip = make_problem("ChipPlacement", mode="hpwl", keep_fixed=True).load(str(folder / "x.aux"))
    assert chip.netlist.nets == 2 and chip.netlist.weight.tolist() == [2.0, 1.0]


def test_byte_order_marks_are_read_in_every_text(tmp_path: Path) -> None:
    mark = "\ufeff"
    plc = PLC + "0 10 5 N 0\n2 70 35 N 0\n"
    path = saved(tmp_path / "n", {"n.pb.txt": mark + PAIR, "initial.plc": mark + plc}) / "n.pb.txt"
    assert judged(path, path.parent / "initial.plc").feasible
    shelf = saved(tmp_path / "s", {part: mark + text for part, text in SHELF.items()})
    make_problem("ChipPlacement", mode="hpwl", keep_fixed=True).load(str(shelf / "x.aux"))
    path.write_bytes(PAIR.encode("utf-16"))
    with pytest.raises(UsageError, match="byte order mark says UTF-16; save the file as UTF-8"):
        make_problem("ChipPlacement").load(str(path))


# ------------------------------------------------------------------------------------------------ UCSC floorplans


def test_ucsc_floorplans_are_read_from_any_of_their_files(tmp_path: Path) -> None:
    folder = saved(tmp_path, BLOCKS, "g3")
    for part in BLOCKS:
        with pytest.warns(Notice) as told:
            chip = make_problem("ChipPlacement").load(str(folder / f"g3.{part}"))
        said = " ".join(str(item.message) for item in told)
        assert "the box of the terminals, 60 x 60, is guessed" in said and "1 soft blocks are read as hard ones" in said
    netlist, hard = chip.netlist, chip.netlist.kind == HARD
    assert netlist.width[hard].tolist() == [20.0, 40.0, 40.0] and netlist.height[hard].tolist() == [30.0, 10.0, 10.0]
    assert [(chip.placement.x[i], chip.placement.y[i]) for i in np.flatnonzero(netlist.kind == PORT)] == [
        (0, 12),
        (60, 60),
    ]
    pin = netlist.names.index("a.p0")
    assert (netlist.x_offset[pin], netlist.y_offset[pin]) == (2.0, -15.0) and not chip.placement.placed[0]
    with pytest.warns(Notice):
        verdict = started(folder / "g3.blocks")
    assert verdict.feasible and verdict.metrics["canvas_guessed"] == 1.0


@pytest.mark.parametrize(
    ("part", "old", "new", "sentence"),
    [
        ("blocks", "4 (0, 0) (0, 30) (20, 30) (20, 0)", "5 (0, 0) (0, 30) (20, 30) (20, 9) (9, 0)", "is no rectangle"),
        ("blocks", "4 (0, 0)", "5 (0, 0)", "line 6: expected 'name hardrectilinear 4"),
        ("blocks", "400 4.0 9.0", "400 9.0 4.0", "line 8: expected 'name hardrectilinear 4"),
        ("blocks", "NumTerminals : 2", "NumTerminals : 3", "lists 2, its NumTerminals says 3"),
        ("blocks", "b hard", "a hard", "a second block or terminal is named 'a'"),
        ("nets", "%-50.0", "50.0", "expected 'node direction : x_offset y_offset'"),
        ("pl", "p2 60 60\n", "", "gives the terminal 'p2' no position"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::sysgym.core.errors.Notice")
def test_damaged_ucsc_floorplans_get_a_sentence(tmp_path: Path, part: str, old: str, new: str, sentence: str) -> None:
    assert old in BLOCKS[part]
    folder = saved(tmp_path, BLOCKS | {part: BLOCKS[part].replace(old, new)}, "g3")
    with pytest.raises(UsageError, match=sentence):
        make_problem("ChipPlacement").load(str(folder / "g3.blocks"))
