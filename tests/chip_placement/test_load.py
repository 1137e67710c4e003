"""Names, recipes, files and options of chip placement: what they load, and the sentences about those that are none."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from public import CHIP, needs_chip

import sysgym
from sysgym import make_problem
from sysgym.chip_placement.formats.netlist import HARD
from sysgym.chip_placement.formats.plc import Canvas, read_plc
from sysgym.chip_placement.generate import generate_chip, optimum
from sysgym.chip_placement.load import read_chip
from sysgym.core.env import ProblemEnv
from sysgym.core.errors import Notice
from sysgym.core.solutions import read_solution, write_solution
from sysgym_agents import Budget
from sysgym_agents.core import make_agent


@pytest.mark.parametrize("recipe", ["tiles:rows=1,columns=4", "tiles:rows=2,columns=3,soft=3,seed=5", "tiles:rows=3"])
def test_tiles_have_the_optimum_that_they_promise(recipe: str) -> None:
    """Brute force where it is possible: no permutation on the cells is shorter, and one attains it."""
    from itertools import permutations

    chip = generate_chip(recipe)
    hard = np.flatnonzero(chip.netlist.kind[chip.macros] == HARD)
    problem = make_problem("ChipPlacement", objective="hpwl")
    rows = 1 if "rows=1" in recipe else 2 if "rows=2" in recipe else 3
    columns = len(hard) // rows
    spots = [(10 * c + 5.0, 10 * r + 5.0) for r in range(rows) for c in range(columns)]
    solution = {"x": np.full(len(chip.macros), 5.0), "y": np.full(len(chip.macros), 5.0),
                "orientation": np.zeros(len(chip.macros), np.int64)}  # fmt: skip
    best = np.inf
    orders = permutations(range(len(hard))) if len(hard) < 7 else []
    for order in orders:
        solution["x"][hard], solution["y"][hard] = np.array([spots[i] for i in order]).T
        verdict = problem.judge(chip, solution)
        assert verdict.feasible and verdict.cost >= optimum(recipe) - 1e-9
        best = min(best, verdict.cost)
    if len(hard) < 7:
        assert best == optimum(recipe)
    found = make_agent("wiremask-ea").solve(problem, chip, np.random.default_rng(0), Budget(steps=300))
    assert problem.judge(chip, found).cost >= optimum(recipe)
    assert sysgym.content_hash(generate_chip(recipe)) == sysgym.content_hash(chip)


def test_a_users_files_work_wherever_a_name_does(tmp_path: Path) -> None:
    problem = make_problem("ChipPlacement")
    source = sysgym.core.data.candidates(_entry("designs/mempool_tile_NanGate45").file)[0]
    (tmp_path / "mine.pb.txt").write_bytes(gzip.decompress(source.read_bytes()))
    plc = source.parent / "mempool_tile_NanGate45.plc"
    with pytest.warns(Notice, match="guessed"):
        alone = problem.load(str(tmp_path / "mine.pb.txt"))
    assert (alone.canvas.columns, alone.canvas.rows) == (10, 10)  # Google's defaults
    (tmp_path / "initial.plc").write_bytes(plc.read_bytes())
    chip = problem.load(str(tmp_path / "mine.pb.txt"))
    assert (chip.canvas.columns, chip.canvas.rows) == (29, 24)
    other = make_problem("ChipPlacement", plc=str(plc), grid=12).load(str(tmp_path / "mine.pb.txt"))
    assert (other.canvas.columns, other.canvas.rows) == (12, 12) and other.canvas.width == chip.canvas.width
    registered = problem.load("designs/mempool_tile_NanGate45")
    assert sysgym.content_hash(chip) == sysgym.content_hash(registered)
    solution = dict(make_agent("spiral").solve(problem, chip, np.random.default_rng(0), Budget()))
    for name in ("out.plc", "out.json", "out.npz"):
        write_solution(problem, chip, solution, tmp_path / name)
        again = read_solution(problem, chip, tmp_path / name)
        assert problem.judge(chip, again).cost == pytest.approx(problem.judge(chip, solution).cost, rel=1e-9)
        assert problem.judge(chip, again).feasible
    canvas, placement = read_plc(tmp_path / "out.plc", chip.netlist)
    assert canvas == chip.canvas and placement.placed.all()
    text = (tmp_path / "out.plc").read_text().splitlines()
    (tmp_path / "cut.plc").write_text("\n".join(text[: len(text) // 2]) + "\n")
    with pytest.raises(sysgym.InvalidSolution, match="macros have no place in it"):
        read_solution(problem, chip, tmp_path / "cut.plc")


def _entry(name: str) -> Any:
    from sysgym.core.instances import find_entry

    return find_entry(make_problem("ChipPlacement").instance_sets(), name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nobody", "Give a registered name"),
        ("chip.lef", "is a LEF file, a library; give the DEF"),
        ("chip.def.gz", "cannot be read: No such file"),
        ("none.pb.txt", "cannot be read: No such file"),
        ("tiles:rows=x", "parameter rows of tiles must be a whole number from 1 to 64, got 'x'"),
        ("tiles:row=2", "unknown parameter of tiles 'row'"),
        ("tiles:rows=1,columns=1,soft=0,ports=0", "has no net"),
    ],
)
def test_names_that_are_none_get_a_sentence(name: str, sentence: str) -> None:
    with pytest.raises(sysgym.UsageError, match=sentence) as caught:
        make_problem("ChipPlacement").load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"mode": "place"}, "unknown mode 'place'"),
        ({"mode": "hpwl", "objective": "proxy"}, "mode 'hpwl' pays for wirelength"),
        ({"smoothing": 1.5}, "smoothing must be a whole number from 0 to 100"),
        ({"density_weight": -1}, "density_weight must be a number from 0"),
        ({"density_weight": float("nan")}, "density_weight must be a number from 0"),
        ({"orient": 1}, "orient must be true or false"),
        ({"congestion_grid": "new"}, "unknown congestion_grid 'new'"),
    ],
)
def test_wrong_options_get_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(sysgym.UsageError, match=sentence):
        make_problem("ChipPlacement", **options)


@needs_chip
def test_the_graph_is_circuit_trainings() -> None:
    """Asserted in its tests for sample_clustered: types, links, weights, sizes and port locations."""
    folder = CHIP / "tests" / "sample_clustered"
    chip = read_chip(folder / "netlist.pb.txt", str(folder / "initial.plc"), "sample")
    x, y = chip.placement.x.copy(), chip.placement.y.copy()
    x[:2], y[:2] = (0.5, 150.0), (100.0, 199.5)
    chip = replace(chip, canvas=Canvas(300.0, 200.0, 3, 2), placement=replace(chip.placement, x=x, y=y))
    graph = chip.graph
    types = graph.nodes[:, 2:5] @ np.array([1, 2, 3])
    assert types.tolist() == [1, 1, 2, 3, 3]
    half = len(graph.edges) // 2
    assert graph.edge_index[:, :half].tolist() == [[0, 0, 1, 1, 2], [2, 3, 2, 4, 3]]
    assert graph.edges[:, 0].tolist() == [1.0] * 10
    assert np.bincount(graph.edge_index[0]).tolist() == [2, 2, 3, 2, 1]
    assert np.allclose(graph.nodes[:2, 0] * 500, [120, 80])
    assert (graph.ports / 500).tolist() == [[0.0, 0.4], [0.3, 0.4]]  # (0, 200) and (150, 200) of 300 x 200


@needs_chip
def test_standard_cells_want_clusters_or_the_other_objective() -> None:
    problem, macros = make_problem("ChipPlacement"), make_problem("ChipPlacement", mode="hpwl")
    chip = problem.load("ibm01/ibm01")
    assert chip.canvas == Canvas(2304.0, 2304.0, 144, 144) or (chip.canvas.columns, chip.canvas.rows) == (144, 144)
    solution = dict(make_agent("wiremask").solve(macros, chip, np.random.default_rng(0), Budget()))
    assert macros.judge(chip, solution).feasible
    for act in (lambda: problem.judge(chip, solution), lambda: ProblemEnv(problem, instance=chip).reset(seed=0)):
        with pytest.raises(sysgym.UsageError, match="holds 12260 standard cells"):
            act()


@needs_chip
@pytest.mark.parametrize("name", ["ct/ariane133_NanGate45", "mcnc/apte", "gsrc/n30", "ibm01/ibm01"])
def test_public_designs_load_by_name(name: str) -> None:
    problem = make_problem("ChipPlacement", mode="hpwl")
    chip = problem.load(name)
    assert sysgym.content_hash(chip) == _entry(name).hash
    assert problem.size(chip).nodes == _entry(name).nodes
    assert problem.reference_costs(chip)["wiremask-ea"] > 0


def test_bad_canvases_are_refused(tmp_path: Path) -> None:
    source = sysgym.core.data.candidates(_entry("designs/mempool_tile_NanGate45").file)[0]
    good = (source.parent / "mempool_tile_NanGate45.plc").read_text()
    problem = make_problem("ChipPlacement")
    (tmp_path / "n.pb.txt.gz").write_bytes(source.read_bytes())

    def refuse(sentence: str, old: str, new: str) -> None:
        assert old in good
        (tmp_path / "initial.plc").write_text(good.replace(old, new))
        with pytest.raises(sysgym.UsageError, match=sentence):
            problem.load(str(tmp_path / "n.pb.txt.gz"))

    routes = next(line for line in good.splitlines() if "Routes per micron" in line)
    refuse("expected positive routes", routes, "# Routes per micron, hor : 0  ver : 50")
    refuse("expected positive routes", routes, "# Routes per micron, hor : -5  ver : 50")
    refuse("expected positive routes", "Smoothing factor : 0", "Smoothing factor : 500")
    refuse("not finite", "Smoothing factor : 0", "Smoothing factor : 1e999")
    refuse("a grid of 10000000 cells a side", "Columns : 29", "Columns : 10000000")
    last = good.strip().splitlines()[-1]
    refuse("is placed a second time", last, f"{last}\n{last}")
    ports = [line for line in good.splitlines() if line.endswith(" - 1")]
    refuse("it seems to be of another netlist", ports[0] + "\n", "")
    with pytest.raises(sysgym.UsageError, match="is generated with a canvas of its own"):
        make_problem("ChipPlacement", plc="x.plc").load("tiles:rows=2")
