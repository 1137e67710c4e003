"""A verdict does not depend on digits that files do not hold: rounding, tolerance, bound of the congestion, gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.chip_placement.test_cost import CHIP, needs_chip

from sysgym.chip_placement.cost import both_costs, proxy_cost
from sysgym.chip_placement.formats.netlist import HARD, SOFT, read_netlist
from sysgym.chip_placement.formats.plc import Canvas, canvas_of, format_plc, netlist_placement, parse_plc
from sysgym.chip_placement.generate import generate_chip
from sysgym.chip_placement.geometry.legal import keeps
from sysgym.chip_placement.geometry.moves import Moves
from sysgym.chip_placement.geometry.packing import room
from sysgym.chip_placement.geometry.resolution import canonical, on_unit, six_digits
from sysgym.chip_placement.instance import Chip
from sysgym.chip_placement.judge import all_nodes
from sysgym.chip_placement.kernels import block_bound, block_macro
from sysgym.core.errors import Notice
from sysgym.core.problem import Array, Solution
from sysgym.core.registry import make_problem
from sysgym_agents import Budget, make_agent

PROXY = make_problem("ChipPlacement")
ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "six digits": lambda values: np.array([float(f"{value:.6g}") for value in values]),
    "float32": lambda values: values.astype(np.float32).astype(np.float64),
    "four decimals": lambda values: np.round(values, 4),
}


def rounded(solution: Solution, how: str) -> Solution:
    return {**solution, **{axis: ROUNDINGS[how](solution[axis]) for axis in ("x", "y")}}


def block_chip(sizes: list[tuple[float, float]], canvas: Canvas) -> Chip:
    """Hard macros of these sizes and two soft ones, wired in a ring through pins at their centres."""
    tiles = generate_chip(f"tiles:rows=1,columns={len(sizes)},soft=2,ports=1,seed=2")
    width, height = tiles.netlist.width.copy(), tiles.netlist.height.copy()
    hard = np.flatnonzero(tiles.netlist.kind == HARD)
    width[hard], height[hard] = np.array(sizes).T
    return replace(tiles, netlist=replace(tiles.netlist, width=width, height=height), canvas=canvas)


def placed(chip: Chip, x: list[float], y: list[float]) -> Solution:
    """Hard macros here, soft ones in the middle."""
    hard = chip.netlist.kind[chip.macros] == HARD
    at = {axis: np.full(len(hard), middle) for axis, middle in (("x", chip.canvas.width / 2),
                                                                ("y", chip.canvas.height / 2))}  # fmt: skip
    at["x"][hard], at["y"][hard] = x, y
    return {**at, "orientation": np.zeros(len(hard), np.int64)}


def test_six_digits_are_those_of_the_text() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([
        rng.uniform(0, 2000, 20_000), 10 ** rng.uniform(-12, 12, 20_000) * rng.choice([-1, 1], 20_000),
        np.round(rng.uniform(0, 2000, 20_000), 4), [0.0, 999_999.5, 999_999.4, 99_999.95, 123_456.5, 1e300, -1e-300],
    ])  # fmt: skip
    assert np.array_equal(six_digits(values), ROUNDINGS["six digits"](values))
    assert np.array_equal(six_digits(six_digits(values)), six_digits(values))


@pytest.mark.parametrize(("side", "unit"), [(1433.4, 0.01), (200.016, 0.001), (22.95, 1e-4), (1000.0, 0.01), (9e5, 1)])
def test_a_unit_is_that_of_the_sixth_digit_and_all_files_keep_whole_ones(side: float, unit: float) -> None:
    canvas = Canvas(side, side / 2, 10, 5)
    assert canvas.unit == unit
    some = on_unit(canvas, np.random.default_rng(1).uniform(0, side, 1000))
    for how in ROUNDINGS if unit <= 1 else ("six digits",):
        assert np.array_equal(six_digits(ROUNDINGS[how](some)), some), how


def test_overlaps_are_forgiven_up_to_a_unit() -> None:
    """Half a unit is legal, two are not; `penetration` and `strict` tell them apart from none."""
    canvas = Canvas(200.0, 100.0, 20, 10)
    chip = block_chip([(41.3, 20.7), (33.1, 17.9)], canvas)
    for units, legal, strict in ((-2.0, True, True), (0.5, True, False), (0.9, True, False), (2.0, False, False)):
        deep = units * canvas.unit
        # binary fractions of a unit are lost by R1, so the second macro's size makes the depth
        wide = chip.netlist.width.copy()
        second = np.flatnonzero(chip.netlist.kind == HARD)[1]
        wide[second] = 33.1 + 2 * deep
        one = replace(chip, netlist=replace(chip.netlist, width=wide))
        verdict = PROXY.judge(one, placed(one, [60.0, 60.0 + 41.3 / 2 + 33.1 / 2], [50.0, 50.0]))
        assert (verdict.feasible, bool(verdict.metrics["strict"])) == (legal, strict), (units, verdict)
        assert verdict.metrics["penetration"] == pytest.approx(max(deep, 0.0), abs=1e-9)
        assert (verdict.metrics["overlaps"] == 0) == legal
        border = PROXY.judge(one, placed(one, [41.3 / 2 - max(deep, 0.0), 150.0], [50.0, 50.0]))
        assert border.metrics["penetration"] <= max(deep, 0.0) + 0.5 * canvas.unit + 1e-9


def test_a_pin_on_the_border_is_routed_and_one_farther_out_is_not() -> None:
    """R4: up to a unit outside counts in the last cell."""
    tiles = generate_chip("tiles:rows=2,columns=2,soft=1,ports=2,seed=1")
    canvas = tiles.canvas
    port = int(
        np.flatnonzero((tiles.netlist.parent == np.arange(len(tiles.netlist.kind))) & (tiles.netlist.kind == 0))[0]
    )
    costs = {}
    for out in (-0.5, 0.0, 0.9, 2.0):
        x, y = tiles.placement.x.copy(), tiles.placement.y.copy()
        x[port], y[port] = canvas.width + out * canvas.unit, canvas.height / 3
        costs[out] = proxy_cost(tiles.netlist, canvas, replace(tiles.placement, x=x, y=y)).congestion_cost
        clamped = proxy_cost(tiles.netlist, replace(canvas, clamp_pins=True), replace(tiles.placement, x=x, y=y))
        assert clamped.congestion_cost == costs[-0.5]
    assert costs[-0.5] == costs[0.0] == costs[0.9]
    assert costs[2.0] < costs[0.0]


@pytest.mark.parametrize("seed", range(40))
def test_the_bound_of_a_macro_is_the_largest_of_its_nudged_places(seed: int) -> None:
    """Cell by cell, by brute force; macros whose edges are on, near or off the lines."""
    rng = np.random.default_rng(seed)
    cell, unit = (10.0, 8.0), 0.01
    width, height = rng.choice([10.0, 20.0, 7.3, 4.0], 2)
    edge = np.round(rng.uniform(-1, 6, 2)) * cell + rng.choice([0.0, 0.005, -0.01, 0.01, 0.02, 3.3], 2)
    at = edge + np.array([width, height]) / 2
    near = [any(abs(side / c - round(side / c)) * c <= unit * (1 + 1e-6) for side in (p - s / 2, p + s / 2))
            for p, s, c in zip(at, (width, height), cell, strict=True)]  # fmt: skip
    most = np.zeros((2, 5, 6))
    first = True
    for across in (0, -unit, unit) if near[0] else (0,):
        for up in (0, -unit, unit) if near[1] else (0,):
            one = np.zeros((2, 5, 6))
            block_macro(at[0] + across, at[1] + up, width, height, *cell, 0.3, 0.7, *one)
            most = one if first else np.maximum(most, one)
            first = False
    found = np.zeros((2, 5, 6))
    block_bound(*at, width, height, *cell, 0.3, 0.7, unit, 1.0, *found)
    assert found == pytest.approx(np.maximum(most, 0.0), abs=1e-12)
    block_bound(*at, width, height, *cell, 0.3, 0.7, unit, -1.0, *found)
    assert not found.any()


@needs_chip
def test_tiles_on_the_lines_keep_their_public_figure() -> None:
    tiles = read_netlist(CHIP / "tests" / "macro_tiles_10x10" / "netlist.pb.txt.gz")
    with pytest.warns(Notice, match="guessed"):
        canvas = canvas_of(tiles, "tiles")
    exact, bounded = both_costs(tiles, canvas, netlist_placement(tiles))
    assert exact.congestion_cost == pytest.approx(1.124405186246434)
    assert bounded.congestion_cost >= exact.congestion_cost


def recorded() -> Iterator[tuple[Chip, Solution]]:
    """The placements that come with the public designs, as far as they place all macros."""
    for folder in sorted((CHIP / "ct").iterdir()):
        chip = PROXY.load(f"ct/{folder.name}")
        for file in ("initial.plc", "legalized.plc"):
            placement = parse_plc((folder / file).read_text(), chip.netlist)[1]
            if placement.placed[chip.macros].all():
                rows = chip.macros
                yield chip, {"x": placement.x[rows], "y": placement.y[rows],
                             "orientation": placement.orientation[rows].astype(np.int64)}  # fmt: skip


@needs_chip
def test_recorded_placements_have_one_verdict_and_no_bound_above_the_exact_cost() -> None:
    count = 0
    for chip, solution in recorded():
        verdict = PROXY.judge(chip, solution)
        assert verdict.cost == verdict.metrics["proxy"], chip
        for how in ("six digits", "float32"):
            assert PROXY.judge(chip, rounded(solution, how)) == verdict, (chip, how)
        near = PROXY.judge(chip, rounded(solution, "four decimals"))  # where six digits are more than four decimals
        assert near.feasible == verdict.feasible and near.cost == pytest.approx(verdict.cost, rel=1e-6)
        count += 1
    assert count == 12


AGENTS: dict[str, dict[str, Any]] = {
    "spiral": {}, "wiremask": {}, "sa-placer": {"sweeps": 3}, "cd-placer": {"epochs": 1}, "random": {},
    "analytic": {"iterations": 60, "sweeps": 12}, "freed": {"sweeps": 4}, "forces": {},
}  # fmt: skip
PLACERS = tuple(name for name in AGENTS if name not in ("random", "forces"))
CHIPS = ("designs/mempool_tile_ASAP7", "designs/ariane133_NanGate45", "tiles:rows=3,columns=4,pitch=3,soft=9,seed=4")


@pytest.mark.slow
@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("agent", AGENTS)
def test_own_placements_have_one_verdict_in_every_file(agent: str, name: str) -> None:
    """24 placements: the same verdict by six digits, float32 and four decimals, and no jitter above the cost."""
    chip = PROXY.load(name)
    budget = Budget(steps=20_000) if agent == "forces" else Budget()
    solution = make_agent(agent, **AGENTS[agent]).solve(PROXY, chip, np.random.default_rng(3), budget)
    verdict = PROXY.judge(chip, solution)
    assert verdict.feasible
    for how in ROUNDINGS:
        assert PROXY.judge(chip, rounded(solution, how)) == verdict, how
    text = format_plc(chip.netlist, chip.canvas, all_nodes(chip, **solution))
    again = PROXY.parse_solution(chip, text.encode(), "x.plc")
    assert PROXY.judge(chip, again) == verdict
    if agent in PLACERS and name.startswith("designs"):
        assert verdict.metrics["strict"]
    if agent in ("analytic", "freed", "sa-placer", "spiral", "wiremask") and name.startswith("designs"):
        assert verdict.cost <= verdict.metrics["proxy"] * 1.02  # nothing lives on the edge of a line
    rng, unit = np.random.default_rng(5), chip.canvas.unit
    hard = (chip.netlist.kind[chip.macros] == HARD) & ~chip.placement.fixed[chip.macros]
    for _ in range(21):
        moved = {axis: solution[axis] + rng.uniform(-unit, unit, len(hard)) * hard for axis in ("x", "y")}
        exact = proxy_cost(chip.netlist, chip.canvas, all_nodes(chip, **{**solution, **moved})).proxy()
        assert exact <= verdict.cost * 1.0005


@pytest.mark.parametrize("agent", [name for name in PLACERS if name != "freed"])
def test_placers_leave_room_where_there_is_any(agent: str) -> None:
    chip = block_chip([(41.3, 20.7), (33.1, 17.9), (25.2, 30.3)], Canvas(200.0, 100.0, 20, 10))
    found = make_agent(agent, **AGENTS[agent]).solve(PROXY, chip, np.random.default_rng(1), Budget(steps=2000))
    placement = all_nodes(chip, **found)
    between, border = keeps(chip.netlist, chip.canvas, placement, 0.5 * room(chip.canvas) - 1e-6)
    assert between and border
    assert PROXY.judge(chip, found).metrics["strict"]


def test_moves_cost_what_the_bound_says_from_scratch() -> None:
    """On lines, near lines and off them, after any number of moves."""
    chip = generate_chip("tiles:rows=3,columns=3,slack=2,pitch=2,soft=6,seed=1")
    rng, unit = np.random.default_rng(2), chip.canvas.unit
    moves = Moves(chip.netlist, chip.canvas, canonical(chip.netlist, chip.canvas, chip.layout))
    for step in range(60):
        node = int(rng.choice(chip.macros))
        at = np.round(rng.uniform(0, 10, 2)) * 5.0 + rng.choice([0.0, unit, -2 * unit, 1.7], 2)
        moves.put([node], [float(at[0])], [float(at[1])], [int(rng.integers(4))])
        exact, bounded = both_costs(chip.netlist, chip.canvas, moves.as_placement())
        assert moves.cost() == pytest.approx(bounded, rel=1e-9), step
        assert bounded.congestion_cost >= exact.congestion_cost


def test_soft_macros_are_rounded_too_and_fixed_ones_stay() -> None:
    chip = generate_chip("tiles:rows=2,columns=3,soft=4,seed=1")
    rng = np.random.default_rng(0)
    solution = {"x": rng.uniform(10, 20, len(chip.macros)), "y": rng.uniform(10, 20, len(chip.macros)),
                "orientation": np.zeros(len(chip.macros), np.int64)}  # fmt: skip
    assert (chip.netlist.kind[chip.macros] == SOFT).sum() == 4
    seen = PROXY.canonical(chip, solution)
    assert np.array_equal(seen["x"], six_digits(solution["x"])) and not np.array_equal(seen["x"], solution["x"])
    fixed = chip.placement.fixed | np.isin(chip.netlist.parent, chip.macros[:1])
    x = chip.placement.x.copy()
    x[np.isin(chip.netlist.parent, chip.macros[:1])] = 12.345678912
    kept = replace(chip, placement=replace(chip.placement, fixed=fixed, x=x))
    near = {**solution, "x": np.append(12.3457, solution["x"][1:])}
    assert PROXY.canonical(kept, near)["x"][0] == 12.345678912
