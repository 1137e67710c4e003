"""Placements as DEF and Tcl: only moved macros change, every other byte stays."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lefdef import (
    DEF,
    DEFS,
    EXPECTED,
    FLAT,
    LEF,
    LEFDEF,
    chip_of,
    content,
    libraries,
    needs_lefdef,
    problem_of,
    start_of,
)

from sysgym import InvalidSolution, UsageError, make_problem
from sysgym.chip_placement.formats.lefdef.source import rounded
from sysgym.chip_placement.formats.netlist import ORIENTATIONS
from sysgym.core.errors import Notice
from sysgym.core.solutions import read_solution, write_solution
from sysgym_agents import make_agent
from sysgym_agents.core import Budget

pytestmark = [pytest.mark.filterwarnings("ignore::sysgym.core.errors.Notice")]
PLACED = tuple(name for name in DEFS if EXPECTED[name]["blocks_placed"] == EXPECTED[name]["blocks"] > 0)
MACROS = tuple(name for name in PLACED if not name.startswith("riscv"))


@pytest.fixture
def tiny(tmp_path: Path) -> Any:
    """The problem and the chip of a small design of two macros."""
    (tmp_path / "t.lef").write_text(LEF)
    (tmp_path / "t.def").write_text(DEF)
    problem = make_problem("ChipPlacement", lef=str(tmp_path / "t.lef"))
    return problem, problem.load(str(tmp_path / "t.def"))


def components(data: bytes) -> dict[str, list[str]]:
    """The words of each component of a DEF, read another way."""
    section = data.decode().split("\nCOMPONENTS ")[1].split("END COMPONENTS")[0]
    return {entry.split()[0]: entry.split()[1:] for entry in re.split(r"(?m)^\s*- ", section)[1:]}


def without_components(data: bytes) -> tuple[bytes, bytes]:
    """What stands before and after the components."""
    before, _, rest = data.partition(b"\nCOMPONENTS ")
    return before, rest.partition(b"END COMPONENTS")[2]


@needs_lefdef
@pytest.mark.parametrize("name", PLACED)
def test_what_does_not_move_is_written_byte_for_byte(name: str, tmp_path: Path) -> None:
    problem, chip = problem_of(name, objective="hpwl"), chip_of(name)
    solution = start_of(chip)
    for file in ("a.def", "a.def.gz"):
        write_solution(problem, chip, solution, tmp_path / file)
        written = (tmp_path / file).read_bytes()
        assert (gzip.decompress(written) if file.endswith(".gz") else written) == content(name)
        again = read_solution(problem, chip, tmp_path / file)
        assert all(np.array_equal(again[key], solution[key]) for key in solution)
    assert problem.judge(chip, again).feasible


@needs_lefdef
@pytest.mark.parametrize("name", ["ariane133_ng45_floorplan.def.gz", "ariane133_ng45_macros.def.gz",
                                  "ariane133_sky130hd_macros.def.gz", "ariane136_asap7_macros.def.gz"])  # fmt: skip
def test_placed_macros_alone_change_and_stand_where_they_were_put(name: str, tmp_path: Path) -> None:
    problem, chip = problem_of(name), chip_of(name)
    solution = make_agent("spiral").solve(problem, chip, np.random.default_rng(0), Budget())
    write_solution(problem, chip, solution, tmp_path / "placed.def")
    old, new = content(name), (tmp_path / "placed.def").read_bytes()
    assert without_components(old) == without_components(new)
    before, after = components(old), components(new)
    assert list(before) == list(after)
    units, grid = EXPECTED[name]["dbu"], chip.source.grid
    for number, (component, words) in enumerate(after.items()):
        x, y = int(words[words.index("PLACED") + 2]), int(words[words.index("PLACED") + 3])
        node = chip.macros[number]
        turned = solution["orientation"][number] >= 4
        size = np.array([chip.netlist.width[node], chip.netlist.height[node]])[:: -1 if turned else 1]
        corner = np.array([solution["x"][number], solution["y"][number]]) - size / 2
        assert x % grid == y % grid == 0 and abs(np.array([x, y]) - corner * units).max() <= max(0.501, grid / 2)
        assert words[words.index("PLACED") + 5] == ORIENTATIONS[solution["orientation"][number]]
        kept = [word for word in words if word in ("+", "HALO")]
        assert kept.count("HALO") == before[component].count("HALO")
    verdict = problem.judge(chip, read_solution(problem, chip, tmp_path / "placed.def"))
    assert verdict.feasible and verdict.metrics["overlaps"] == 0


@needs_lefdef
def test_openroads_own_answer() -> None:
    """What `place_macro -location {20 20} -orientation R90` makes of a DEF, here with the macro FIXED on request."""
    name = "place_macro_right_angle_rotation.def"
    problem, chip = problem_of(name, write_fixed=True), chip_of(name)
    centre = (20 + 400 / 2, 20 + 100 / 2)  # of 100 by 400, lying
    solution = {"x": np.array([centre[0]]), "y": np.array([centre[1]]), "orientation": np.array([6])}
    written = problem.format_solution(chip, solution, "a.def")
    wanted = content("place_macro_right_angle_rotation.expected.def")
    assert "FIXED ( 40000 40000 ) W" in written.decode()
    assert components(written) == components(wanted)
    back = problem.parse_solution(chip, wanted, "b.def")
    assert all(np.array_equal(back[key], solution[key]) for key in solution)
    line = "place_macro -macro_name {macro} -location {20 20} -orientation R90 -exact\n"
    assert problem.format_solution(chip, solution, "a.tcl").decode() == line
    assert (
        line.removesuffix(" -exact\n").replace("{macro}", "macro")
        in (LEFDEF / name.replace(".def", ".tcl")).read_text()
    )


@needs_lefdef
def test_tcl_names_every_macro_that_is_free(tmp_path: Path) -> None:
    problem, chip = problem_of("cases.def"), chip_of("cases.def")
    write_solution(problem, chip, start_of(chip), tmp_path / "place.tcl")
    lines = (tmp_path / "place.tcl").read_text().splitlines()
    assert len(lines) == 7  # the eighth is FIXED
    assert lines[0] == r"place_macro -macro_name {blk\[0\]/u_ram} -location {0 0} -orientation R0 -exact"
    facings = [re.findall(r"-orientation (\w+)", line)[0] for line in lines]
    assert facings == ["R0", "R180", "R90", "R270", "MY", "MX", "MXR90"]


def moved(chip: Any, **changes: Any) -> Any:
    """The placement of the file with some values changed, `{"x": {row: value}}`."""
    solution = {key: np.array(value) for key, value in start_of(chip).items()}
    for key, rows in changes.items():
        for row, value in rows.items():
            solution[key][row] = value
    return solution


def test_words_of_the_moved_macro_alone_change(tiny: Any) -> None:
    problem, chip = tiny
    solution = moved(chip, x={1: 9.0}, orientation={1: 1})
    wanted = DEF.replace("PLACED ( 500 0 ) S", "PLACED ( 700 0 ) FN").encode()
    assert problem.format_solution(chip, solution, "a.def") == wanted
    assert problem.format_solution(chip, moved(chip, x={1: 7.004}), "a.def") == DEF.encode()  # below half a unit
    assert b"( 501 0 ) S" in problem.format_solution(chip, moved(chip, x={1: 7.006}), "a.def")
    fixed = make_problem("ChipPlacement", lef=problem.lef, write_fixed=True).format_solution(chip, solution, "a.def")
    assert fixed == wanted.replace(b"+ PLACED ( 0 0 )", b"+ FIXED ( 0 0 )").replace(b"PLACED ( 700", b"FIXED ( 700")


@pytest.mark.parametrize(
    ("status", "written"),
    [
        ("- b ram + SOURCE DIST", "- b ram + PLACED ( 700 0 ) S + SOURCE DIST"),
        ("- b ram + SOURCE DIST + UNPLACED", "- b ram + SOURCE DIST + PLACED ( 700 0 ) S"),
        ("- b ram + SOURCE DIST + UNPLACED ( 3 4 ) N", "- b ram + SOURCE DIST + PLACED ( 700 0 ) S"),
        ("- b ram\t+ PLACED\r\n  ( 1 2 )  N", "- b ram\t+ PLACED\r\n  ( 700 0 )  S"),
        ("- b ram # + PLACED ( 1 1 ) N\n", "- b ram + PLACED ( 700 0 ) S # + PLACED ( 1 1 ) N\n"),
    ],
)
def test_every_way_to_have_no_place_yet(tmp_path: Path, status: str, written: str) -> None:
    (tmp_path / "t.lef").write_text(LEF)
    text = "\ufeff" + DEF.replace("- b ram + SOURCE DIST + PLACED ( 500 0 ) S", status)
    (tmp_path / "t.def").write_bytes(text.encode())
    problem = make_problem("ChipPlacement", lef=str(tmp_path / "t.lef"))
    chip = problem.load(str(tmp_path / "t.def"))
    out = problem.format_solution(chip, moved(chip, x={1: 9.0}, y={1: 1.0}, orientation={1: 2}), "a.def")
    assert out == text.replace(status, written).encode()


def test_what_may_not_be_written(tiny: Any) -> None:
    problem, chip = tiny
    stiff = replace(chip, source=replace(chip.source, turns=np.array([True, False])))
    quarter = moved(chip, orientation={1: 6})
    assert b") W" in problem.format_solution(chip, quarter, "a.def")
    for file in ("a.def", "a.tcl"):
        with pytest.raises(
            UsageError, match=r"'b' would be turned by a quarter, to W, which SYMMETRY in the LEF does not"
        ):
            problem.format_solution(stiff, quarter, file)
    with pytest.raises(InvalidSolution, match=r"'b' would be turned by a quarter"):
        problem.parse_solution(stiff, DEF.replace("( 500 0 ) S", "( 500 0 ) W").encode(), "b.def")
    tiles = problem.__class__().load("tiles:rows=2,columns=2,seed=1")
    with pytest.raises(UsageError, match=r"a\.def goes with a chip that was read from a DEF, and tiles"):
        problem.format_solution(tiles, start_of(tiles), "a.def")
    with pytest.raises(InvalidSolution, match=r"a\.def goes with a chip"):
        problem.parse_solution(tiles, DEF.encode(), "a.def")


def test_fixed_macros_stay(tmp_path: Path) -> None:
    (tmp_path / "t.lef").write_text(LEF)
    (tmp_path / "t.def").write_text(DEF.replace("PLACED ( 500", "FIXED ( 500"))
    problem = make_problem("ChipPlacement", lef=str(tmp_path / "t.lef"))
    chip = problem.load(str(tmp_path / "t.def"))
    assert problem.format_solution(chip, start_of(chip), "a.tcl").decode().count("place_macro") == 1
    with pytest.raises(UsageError, match=r"the solution moves 1 macros that are FIXED in .*t\.def: 'b'; leave them"):
        problem.format_solution(chip, moved(chip, x={1: 9.0}), "a.def")


def test_the_manufacturing_grid_is_kept_and_may_not_make_macros_overlap(tmp_path: Path) -> None:
    (tmp_path / "t.lef").write_text("MANUFACTURINGGRID 0.3 ;\n" + LEF)
    (tmp_path / "t.def").write_text(DEF)
    problem = make_problem("ChipPlacement", lef=str(tmp_path / "t.lef"))
    chip = problem.load(str(tmp_path / "t.def"))
    assert chip.source.grid == 30
    out = problem.format_solution(chip, moved(chip, x={0: 6.16, 1: 12.0}), "a.def").decode()
    assert "PLACED ( 420 0 ) N" in out and "PLACED ( 990 0 ) S" in out  # 416 and 1000 before
    border = problem.format_solution(chip, moved(chip, x={1: 18.0}, y={1: 9.0}), "a.def").decode()
    assert "PLACED ( 1590 780 ) S" in border  # the line within the canvas, not 1600 or 810
    close = moved(chip, x={0: 6.16, 1: 10.17})  # 416 to 816, 817: 420 to 820 and 810
    assert problem.judge(chip, close).feasible
    with pytest.raises(
        UsageError, match=r"on the manufacturing grid, of 30 database units, 'a' and 'b' overlap, which"
    ):
        write_solution(problem, chip, close, tmp_path / "no.def")
    assert not (tmp_path / "no.def").exists()


def test_macros_that_touch_go_on_to_touch() -> None:
    draw = np.random.default_rng(3)
    for width in range(1, 40):
        left = draw.integers(0, 10**6, 50) + draw.choice([0.5, 0.25, 0.0, 0.999999], 50)
        assert (rounded(left + width) - rounded(left) == width).all()
        assert (abs(rounded(left) - left) <= 0.50001).all()


def test_a_placement_of_another_design_is_refused(tiny: Any) -> None:
    problem, chip = tiny
    for old, new, sentence in (
        (
            "- b ram",
            "- c ram",
            r"x\.def lacks 1 of the 2 hard macros of .*t\.def: 'b'; its first components are 'a', 'c'",
        ),
        ("PLACED ( 500 0 ) S", "UNPLACED", r"x\.def gives 1 hard macros no place: 'b'; a solution places all"),
        ("PLACED ( 500 0 ) S", "PLACED ( 500 0 ) Q", r"x\.def line 8 has the orientation 'Q'"),
        ("END DESIGN", "", r"the file ends before its 'END DESIGN'"),
    ):
        changed = DEF.replace(old, new)
        assert changed != DEF
        with pytest.raises(InvalidSolution, match=sentence) as caught:
            problem.parse_solution(chip, changed.encode(), "x.def")
        assert "\n" not in str(caught.value)


def test_a_placement_in_other_units_and_without_backslashes(tiny: Any) -> None:
    problem, chip = tiny
    text = (
        DEF.replace("MICRONS 100", "MICRONS 200").replace("( 500 0 ) S", "( 1000 0 ) S").replace("- b ram", "- \\b ram")
    )
    found = problem.parse_solution(chip, text.encode(), "x.def")
    assert all(np.array_equal(found[key], value) for key, value in start_of(chip).items())


@needs_lefdef
def test_the_command_line_takes_a_def_and_gives_one(inline: Any, tmp_path: Path) -> None:
    name = "ariane133_ng45_floorplan.def.gz"
    (tmp_path / "chip.def").write_bytes(content(name))
    first, second = libraries(name)
    once, twice = ("-O", f"lef={first},{second}"), ("-O", f"lef={first}", "-O", f"lef={second}")
    assert (
        "feasible" in inline("solve", "chip.def", "-p", "ChipPlacement", *twice, "-a", "spiral", "-o", "p.def").stdout
    )
    inline("solve", "chip.def", *once, "-a", "spiral", "-o", "place.tcl")
    assert len((tmp_path / "place.tcl").read_text().splitlines()) == 133
    assert "feasible" in inline("judge", "chip.def", "p.def", *once).stdout
    refused = inline("judge", "chip.def", "p.def", code=2)
    assert "give the LEF files that define 'fakeram45_256x16' by the option lef" in refused.stderr
    inline("solve", "chip.def", *once, "-a", "spiral", "-o", "s.json")
    assert (
        "a file that a record names is only opened if you name it"
        in inline("judge", "chip.def", "s.json", code=2).stderr
    )
    assert "feasible" in inline("judge", "chip.def", "s.json", *twice).stdout


def test_a_grouped_netlist_goes_back_into_its_def(inline: Any, tmp_path: Path) -> None:
    (tmp_path / "t.lef").write_text(LEF)
    (tmp_path / "t.def").write_text(FLAT.replace("PLACED ( 500", "FIXED ( 500"))
    (tmp_path / "groups").write_text("-1\n-1\n-1\n0\n-1\n-1\n-1\n-1\n")
    inline(
        "group", "t.def", "--lef", "t.lef", "-o", "netlist.pb.txt", "--write-plc", "initial.plc", "--groups", "groups"
    )
    options = {"template": str(tmp_path / "t.def"), "lef": str(tmp_path / "t.lef")}
    problem = make_problem("ChipPlacement", **options)
    chip = problem.load(str(tmp_path / "netlist.pb.txt"))
    assert (chip.canvas.width, chip.canvas.height) == (20.0, 10.0) and chip.has_soft
    solution = start_of(chip)
    assert problem.format_solution(chip, solution, "a.def") == (tmp_path / "t.def").read_bytes()
    with pytest.warns(Notice, match="a.def holds no soft macros, as no DEF does: forces place them"):
        back = problem.parse_solution(chip, (tmp_path / "t.def").read_bytes(), "a.def")
    assert problem.judge(chip, back).feasible
    assert all(np.array_equal(back[key][chip.source.rows], solution[key][chip.source.rows]) for key in back)
    row = int(chip.source.rows[chip.source.names.index("a")])
    assert b"PLACED ( 100 0 ) N" in problem.format_solution(chip, moved(chip, x={row: 3.0}), "a.def")
    assert chip.placement.fixed[chip.macros[chip.source.rows]].tolist() == [False, True]
    with pytest.raises(
        UsageError, match=r"has 2 hard macros and .* 4, but no 'a', 'b'; give the DEF that the netlist comes from"
    ):
        make_problem("ChipPlacement", **options).load("tiles:rows=2,columns=2,seed=1")
    with pytest.raises(UsageError, match=r"choose among its die and its core by -O canvas=core or die"):
        make_problem("ChipPlacement", **options, canvas="core").load(str(tmp_path / "netlist.pb.txt"))
    said = inline("group", "t.def", "-o", "n.pb.txt", code=2).stderr
    assert "give the LEF files that define" in said


def test_halos_are_the_spacing_of_who_says_none(tiny: Any) -> None:
    problem, chip = tiny
    assert chip.gap == pytest.approx(0.06) and problem.spacing is None and problem.spacing_of(chip) == chip.gap
    assert make_problem("ChipPlacement", spacing=2.0).spacing_of(chip) == 2.0
    assert make_problem("ChipPlacement").load("tiles:rows=2,columns=2,seed=1").gap == 0.0


def test_halos_keep_cells_free_around_macros(tmp_path: Path) -> None:
    """In the masks of an episode: with no spacing given, the cells that a spacing of the halos leaves."""
    (tmp_path / "t.lef").write_text(LEF)
    (tmp_path / "t.def").write_text(DEF.replace("HALO 1 2 3 4", "HALO SOFT 100 100 100 100"))
    free = {}
    for spacing in (0.0, 2.0, None):
        problem = make_problem("ChipPlacement", lef=str(tmp_path / "t.lef"), spacing=spacing or 0.0, grid=20)
        chip, dynamics = problem.load(str(tmp_path / "t.def")), problem.dynamics
        dynamics.spacing = spacing
        state = dynamics.start(chip, np.random.default_rng(0))
        allowed = np.flatnonzero(dynamics.mask(chip, state, problem.size(chip)))
        state = dynamics.step(chip, state, int(allowed[len(allowed) // 2]))
        free[spacing] = int(dynamics.mask(chip, state, problem.size(chip)).sum())
    assert chip.gap == 2.0 and free[None] == free[2.0] < free[0.0]


@needs_lefdef
@pytest.mark.parametrize("agent", ["spiral", "wiremask", "analytic"])
def test_own_placements_are_on_the_manufacturing_grid_and_keep_their_verdict(agent: str) -> None:
    """The DEF that is written of an answer is judged as the answer is: what is written moves nothing."""
    name = "ariane133_ng45_floorplan.def.gz"
    problem, chip = problem_of(name), chip_of(name)
    assert chip.canvas.step == 10 and chip.canvas.unit == pytest.approx(0.005)
    kept = {"analytic": {"iterations": 20, "sweeps": 2}}.get(agent, {})
    solution = make_agent(agent, **kept).solve(problem, chip, np.random.default_rng(0), Budget())
    verdict = problem.judge(chip, solution)
    again = problem.parse_solution(chip, problem.format_solution(chip, solution, "a.def"), "a.def")
    assert verdict.feasible and problem.judge(chip, again) == verdict


@needs_lefdef
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--columns", "0"), "--columns must be a positive number"),
        (("--columns", "-3"), "--columns must be a positive number"),
        (("--rows", "20"), "--rows is given without --columns"), (("--unit", "2"), "names its own unit"),
    ],
    ids=str,
)  # fmt: skip
def test_group_refuses_a_grid_or_unit_that_a_def_cannot_have(words: tuple[str, ...], said: str, inline: Any) -> None:
    found = inline(
        "group", str(LEFDEF / "cases.def"), "--lef", str(LEFDEF / "cases.lef"), "-o", "g.pb.txt", *words, code=2
    )
    assert said in found.stderr


def test_an_answer_that_the_manufacturing_grid_puts_on_a_blockage_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "t.lef").write_text(LEF.replace("SITE core", "MANUFACTURINGGRID 0.1 ;\nSITE core", 1))
    hard = "BLOCKAGES 2 ;\n- PLACEMENT RECT ( 0 806 ) ( 2000 1000 ) ;"
    (tmp_path / "t.def").write_text(DEF.replace("BLOCKAGES 1 ;", hard))
    problem = make_problem("ChipPlacement", lef=str(tmp_path / "t.lef"))
    chip = problem.load(str(tmp_path / "t.def"))
    assert chip.canvas.step == 10
    flush = {key: getattr(chip.placement, key)[chip.macros] for key in ("x", "y", "orientation")}
    flush["y"] = np.array([8.06 - 1.0, 1.0])  # its top at 806 units, of which the grid makes 810
    assert problem.judge(chip, flush).feasible
    for name in ("a.def", "a.tcl"):
        with pytest.raises(UsageError, match=r"not legal any more: 1 pairs of hard macros .* nothing is written"):
            problem.format_solution(chip, flush, name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"canvas": "core"}, "option canvas goes with a DEF"), ({"missing_masters": "cells"}, "option missing_masters"),
        ({"write_fixed": True}, "option write_fixed goes with a DEF"), ({"lef": "t.lef"}, "LEF files go with a DEF"),
    ],
    ids=str,
)  # fmt: skip
def test_what_goes_with_a_def_is_refused_elsewhere(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_problem("ChipPlacement", **options).load("tiles:rows=2,columns=2,seed=1")


def test_a_def_is_no_template_of_itself(tmp_path: Path) -> None:
    (tmp_path / "t.lef").write_text(LEF)
    (tmp_path / "t.def").write_text(DEF)
    file, lef = str(tmp_path / "t.def"), str(tmp_path / "t.lef")
    with pytest.raises(UsageError, match=r"is a DEF, which is written back into itself; leave -O template out"):
        make_problem("ChipPlacement", template=file, lef=lef).load(file)


def test_sizes_and_grids_that_are_no_whole_units_are_announced(tmp_path: Path) -> None:
    (tmp_path / "t.lef").write_text(
        LEF.replace("SIZE 4 BY 2 ; SYMMETRY", "SIZE 4.001 BY 2 ; SYMMETRY").replace(
            "SITE core", "MANUFACTURINGGRID 0.015 ;\nSITE core", 1
        )
    )
    (tmp_path / "t.def").write_text(DEF)
    with pytest.warns(Notice) as told:
        chip = make_problem("ChipPlacement", lef=str(tmp_path / "t.lef")).load(str(tmp_path / "t.def"))
    said = " ".join(str(item.message) for item in told)
    assert "the sizes of 'ram' are no whole numbers of its database units" in said
    assert "a manufacturing grid of 0.015 microns is no whole number" in said and "every 0.03 microns" in said
    assert chip.netlist.width[chip.macros].tolist() == [4.01, 4.01] and chip.canvas.step == 3


def test_rows_without_a_step_go_on_from_site_to_site(tmp_path: Path) -> None:
    (tmp_path / "t.lef").write_text(LEF)
    (tmp_path / "t.def").write_text(DEF.replace("DO 10 BY 1 STEP 100 0", "DO 10 BY 1"))
    canvas = (
        make_problem("ChipPlacement", lef=str(tmp_path / "t.lef"), canvas="core").load(str(tmp_path / "t.def")).canvas
    )
    assert (canvas.width, canvas.height) == (10.0, 2.0)


def test_where_halos_leave_no_room_the_error_names_them(tmp_path: Path) -> None:
    (tmp_path / "t.lef").write_text(LEF)
    (tmp_path / "t.def").write_text(DEF.replace("HALO 1 2 3 4", "HALO 900 900 900 900"))
    problem = make_problem("ChipPlacement", lef=str(tmp_path / "t.lef"))
    chip = problem.load(str(tmp_path / "t.def"))
    with pytest.raises(UsageError, match=r"on the canvas 18 microns apart; -O spacing=0 lets them touch"):
        make_agent("spiral").solve(problem, chip, np.random.default_rng(0), Budget())
