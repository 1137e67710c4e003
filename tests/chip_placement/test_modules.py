"""Generated designs: the same by the same recipe, with the statistics of public ones, and turned ones cost the same."""

from __future__ import annotations

import numpy as np
import pytest

from sysgym import UsageError, make_problem
from sysgym.chip_placement.generate_modules import DRAWN, LIMITS, generate_modules, grid_for, parse_modules, statistics
from sysgym.chip_placement.geometry.packing import find_packing
from sysgym.chip_placement.turned import turned

LOOSE = {"port clusters": 3, "nets driven by ports": 3}  # factors by which generated chips may differ from designs


def test_the_same_recipe_makes_the_same_chip() -> None:
    one, again = (generate_modules("modules:soft=220,seed=4") for _ in range(2))
    other = generate_modules("modules:soft=220,seed=5")
    for key in ("kind", "width", "x", "ptr", "pins", "weight", "x_offset"):
        assert np.array_equal(getattr(one.netlist, key), getattr(again.netlist, key))
    assert not np.array_equal(one.netlist.weight, other.netlist.weight)


def test_what_a_recipe_names_is_what_it_gets() -> None:
    """Counts, and the share of the canvas that is covered; the rest is drawn within its bounds."""
    problem = make_problem("ChipPlacement")
    chip = problem.load("modules:macros=30,soft=250,ports=90,sizes=2,filled=66,seed=9")
    found = statistics(chip)
    assert [found[key] for key in ("macros", "soft", "ports")] == [30, 250, 90]
    assert found["filled"] == pytest.approx(0.66, rel=1e-9)
    netlist = chip.netlist
    assert len(set(zip(netlist.width[:30].tolist(), netlist.height[:30].tolist(), strict=True))) == 2
    for seed in range(30):
        recipe = parse_modules(f"modules:macros=50,seed={seed}")
        assert recipe.macros == 50
        assert all(low <= getattr(recipe, key) <= high for key, (low, high) in DRAWN.items())


@pytest.mark.parametrize("text", ["modules:macro=3", "modules:macros=0", "modules:filled=96", "modules:soft=x"])
def test_wrong_recipes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="modules"):
        make_problem("ChipPlacement").load(text)


@pytest.mark.parametrize("seed", range(4))
def test_generated_chips_are_legal_to_pack(seed: int) -> None:
    """Greedy packing finds a place for every macro, every net has two pins, no body is twice on a net."""
    problem = make_problem("ChipPlacement")
    chip = problem.load(f"modules:soft=200,ports=200,seed={seed}")
    assert find_packing(chip.netlist, chip.canvas, chip.placement, np.random.default_rng(0)) is not None
    degree = np.diff(chip.netlist.ptr)
    owner = chip.netlist.parent[chip.netlist.pins]
    net = np.repeat(np.arange(len(degree)), degree)
    assert degree.min() >= 2
    assert len(np.unique(net * len(chip.netlist.kind) + owner)) == len(owner)


@pytest.mark.parametrize("name", ["designs/mempool_tile_NanGate45", "ct/nvdla_NanGate45", "ct/nvdla_ASAP7"])
def test_statistics_are_those_of_the_public_designs_to_train_on(name: str) -> None:
    """Four chips with a design's counts and utilisation: their geometric mean is within a factor of two of each
    statistic of the design, of three where few things are counted.
    """
    try:
        design = statistics(make_problem("ChipPlacement").load(name))
    except UsageError:
        pytest.skip("the public designs are not here")
    counts = ",".join(f"{key}={int(design[key])}" for key in ("macros", "soft", "ports"))
    filled = min(round(100 * design["filled"]), LIMITS["filled"][1])
    chips = [statistics(generate_modules(f"modules:{counts},sizes=1,filled={filled},seed={seed}")) for seed in range(4)]
    for key, value in design.items():
        mean = float(np.exp(np.mean([np.log(chip[key]) for chip in chips])))
        most = LOOSE.get(key, 2.0)
        assert value / most <= mean <= value * most, f"{key}: {value:.3g} in {name}, {mean:.3g} generated"


def test_a_grid_wastes_nothing_where_it_can() -> None:
    """Macros of 2 x 5 cells of a canvas of 30 x 25."""
    wide, tall = np.full(3, 2 * 900 / 30), np.full(3, 5 * 900 / 25)
    columns, rows = grid_for(900.0, wide, tall)
    for size, count in ((wide[0], columns), (tall[0], rows)):
        assert np.ceil(size * count / 900 - 1e-9) == pytest.approx(size * count / 900)


@pytest.mark.parametrize("way", range(8))
def test_a_turned_chip_costs_what_it_did(way: int) -> None:
    """Wirelength and density of a turned placement are equal; congestion routes one way first, so it is close."""
    problem = make_problem("ChipPlacement")
    chip = problem.load("modules:macros=20,soft=200,ports=100,filled=70,seed=1")
    other, canvas = turned(chip, way), chip.canvas
    rng = np.random.default_rng(0)
    count = len(chip.macros)
    x, y = (rng.uniform(0.3, 0.7, count) * side for side in (canvas.width, canvas.height))
    moved = canvas.width - x if way & 1 else x, canvas.height - y if way & 2 else y
    if way & 4:
        moved = moved[::-1]
    first = problem.judge(chip, {"x": x, "y": y, "orientation": np.zeros(count, np.int64)})
    second = problem.judge(other, {"x": moved[0], "y": moved[1], "orientation": np.zeros(count, np.int64)})
    for key in ("wirelength_cost", "density_cost"):
        assert second.metrics[key] == pytest.approx(first.metrics[key], rel=1e-3)
    assert second.metrics["congestion_cost"] == pytest.approx(first.metrics["congestion_cost"], rel=0.1)


def test_what_cannot_be_turned_is_said() -> None:
    chip = make_problem("ChipPlacement").load("tiles:rows=2,columns=2")
    with pytest.raises(UsageError, match="from 0 to 7"):
        turned(chip, 8)
