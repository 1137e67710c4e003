"""Wire-mask placers: the choice of cells against brute force, legality, budgets, and the published bars on ibm01."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from public import IBM01, needs

from sysgym import UsageError
from sysgym.chip_placement.formats.bookshelf import read_bookshelf
from sysgym.chip_placement.formats.netlist import HARD, PIN, PORT, SOFT, Netlist
from sysgym.chip_placement.formats.plc import Canvas, Placement
from sysgym.chip_placement.geometry.wire import macro_hpwl, wire
from sysgym.chip_placement.instance import Chip
from sysgym.chip_placement.modes.wiremask import WireMaskMode
from sysgym.core.problem import Size
from sysgym_agents import Budget
from sysgym_agents.chip_placement import wiremask_kernels as kernels
from sysgym_agents.chip_placement.wiremask import ORDERS, GreedyWireMask, WireMaskEA

HPWL = SimpleNamespace(pays_for="hpwl", square_soft=True)
PROXY = SimpleNamespace(pays_for="proxy", square_soft=True)
Agent = GreedyWireMask | WireMaskEA


def chip_of(sizes: np.ndarray, nets: list[list[int]], canvas: Canvas, soft: int = 0, fixed: int = 0) -> Chip:
    """Macros of given sizes (n, 2), the last `soft` of them soft, the first `fixed` fixed, in turn at the upper right
    and lower left corner; each with one pin a little off its centre, which the nets join."""
    n = len(sizes)
    kind = np.r_[np.full(n - soft, HARD), np.full(soft, SOFT), np.full(n, PIN), PORT].astype(np.int8)
    parent = np.r_[np.arange(n), np.arange(n), 2 * n].astype(np.int32)
    wide, tall = np.r_[sizes, np.zeros((n + 1, 2))].T
    offset = np.r_[np.zeros(n), np.linspace(-0.3, 0.3, n), 0.0]
    names = tuple(f"Grp_{i}" if kind[i] == SOFT else f"n{i}" for i in range(2 * n + 1))
    zero = np.zeros(2 * n + 1)
    netlist = Netlist(
        "made", kind, wide, tall, zero, zero, zero.astype(np.int8), parent, offset, zero,
        np.cumsum([0, *map(len, nets)]), n + np.concatenate(nets).astype(np.int32), np.ones(len(nets)), names,
    )  # fmt: skip
    held = (np.arange(2 * n + 1) < fixed) | (kind == PORT)
    upper = np.arange(2 * n + 1) % 2 == 0
    x, y = (np.where(held, np.where(upper, side - size / 2, size / 2), 0.0)[parent]
            for side, size in ((canvas.width, wide), (canvas.height, tall)))  # fmt: skip
    placement = Placement(x, y, zero.astype(np.int8), np.ones(2 * n + 1, bool), held[parent])
    return Chip("made", netlist, canvas, placement)


def random_chip(seed: int, **options: Any) -> Chip:
    """Sixteen macros, each on a net with the next and on some of sixteen wider nets; 20 x 18 cells."""
    rng = np.random.default_rng(seed)
    nets = [[i, (i + 1) % 16] for i in range(16)]
    nets += [rng.choice(16, int(rng.integers(2, 5)), replace=False).tolist() for _ in range(16)]
    return chip_of(rng.uniform(2, 18, (16, 2)), nets, Canvas(100.0, 90.0, 20, 18), **options)


def cost(chip: Chip, solution: Any) -> float:
    return macro_hpwl(wire(chip).nets, **solution)


def is_legal(chip: Chip, solution: Any) -> bool:
    """Whether hard macros lie inside the canvas and share no area, in real coordinates."""
    hard = chip.netlist.kind[chip.macros] == HARD
    x, y = solution["x"][hard], solution["y"][hard]
    wide, tall = chip.netlist.width[chip.macros][hard], chip.netlist.height[chip.macros][hard]
    apart = abs(np.subtract.outer(x, x)) >= np.add.outer(wide, wide) / 2 - 1e-6
    apart |= abs(np.subtract.outer(y, y)) >= np.add.outer(tall, tall) / 2 - 1e-6
    np.fill_diagonal(apart, True)
    inside = (x >= wide / 2 - 1e-6) & (x <= chip.canvas.width - wide / 2 + 1e-6)
    inside &= (y >= tall / 2 - 1e-6) & (y <= chip.canvas.height - tall / 2 + 1e-6)
    return bool(apart.all() and inside.all())


def random_cost(chip: Chip, seed: int) -> float:
    """HPWL of a random rollout."""
    mode, rng = WireMaskMode("area"), np.random.default_rng(seed)
    size, state = Size(len(chip.macros), 0, (chip.canvas.rows, chip.canvas.columns)), mode.start(chip, rng)
    while not mode.done(chip, state):
        state = mode.step(chip, state, rng.choice(np.flatnonzero(mode.mask(chip, state, size))))
    return mode.cost(chip, state)


@pytest.mark.parametrize("seed", range(40))
def test_the_best_cell_is_that_of_brute_force(seed: int) -> None:
    """Convex profiles with flat middles, so that many cells tie; a grid from empty to full."""
    rng = np.random.default_rng(seed)
    columns, rows, wide, tall = 12, 9, int(rng.integers(1, 5)), int(rng.integers(1, 4))
    taken = rng.random((rows, columns)) < rng.choice([0.0, 0.1, 0.3, 0.6])
    run = np.zeros((rows, columns), np.int16)
    for r in range(rows):
        for c in range(columns - 1, -1, -1):
            run[r, c] = 0 if taken[r, c] else 1 + (run[r, c + 1] if c + 1 < columns else 0)
    lines = []
    for count in (columns - wide + 1, rows - tall + 1):
        lows, highs = np.sort(rng.integers(-3, 15, (2, 3)), axis=0)
        at = np.arange(count)
        lines.append(sum(np.maximum(a - at, 0) + np.maximum(at - b, 0) for a, b in zip(lows, highs, strict=True)) * 1.0)
    guide = rng.uniform(0, columns), rng.uniform(0, rows)
    found = kernels.best_cell(run, *lines, wide, tall, *guide, 2.0, 3.0, 1e-9)
    free = [(c, r) for r in range(len(lines[1])) for c in range(len(lines[0]))
            if not taken[r : r + tall, c : c + wide].any()]  # fmt: skip
    if not free:
        assert found == (-1, -1)
        return

    def key(cell: tuple[int, int]) -> tuple[float, float]:
        away = ((cell[0] - guide[0]) * 2.0) ** 2 + ((cell[1] - guide[1]) * 3.0) ** 2
        return lines[0][cell[0]] + lines[1][cell[1]], away

    assert found in free and key(found) == min(map(key, free))


@pytest.mark.parametrize("fixed", [0, 2])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("agent", [kind(order=order) for kind in (GreedyWireMask, WireMaskEA) for order in ORDERS])
def test_placements_are_legal_and_far_better_than_random_ones(agent: Agent, seed: int, fixed: int) -> None:
    chip = random_chip(seed, fixed=fixed)
    found = agent.solve(HPWL, chip, np.random.default_rng(0), Budget(steps=300))
    assert is_legal(chip, found) and set(found) == {"x", "y", "orientation"}
    held = chip.placement.fixed[chip.macros]
    assert held.sum() == fixed and np.array_equal(found["x"][held], chip.placement.x[chip.macros][held])
    assert cost(chip, found) < 0.75 * np.mean([random_cost(chip, s) for s in range(8)])


def test_the_greedy_pass_is_that_of_the_environment() -> None:
    """Playing the cells of the pass in mode hpwl finds each of least wire, and the same cost."""
    chip = random_chip(1)
    found = GreedyWireMask().solve(HPWL, chip, np.random.default_rng(0), Budget())
    mode, tables = WireMaskMode("connected"), wire(chip)
    size, state = Size(16, 0, (18, 20)), mode.start(chip, np.random.default_rng(0))
    while not mode.done(chip, state):
        i = mode.focus(chip, state)
        column = round((found["x"][i] - tables.width[i] / 2) / 5.0)
        row = round((found["y"][i] - tables.height[i] / 2) / 5.0)
        wires, mask = mode.candidates(chip, state, size)[0][:, 0], mode.mask(chip, state, size) == 1
        assert mask[row * 20 + column] and wires[row * 20 + column] <= wires[mask].min() + 1e-6
        state = mode.step(chip, state, row * 20 + column)
    assert mode.cost(chip, state) == cost(chip, found)


def test_evolution_improves_repeats_and_counts() -> None:
    chip, costs = random_chip(3), []
    for steps in (1, 100, 1500):
        agent = WireMaskEA()
        costs.append(cost(chip, agent.solve(HPWL, chip, np.random.default_rng(5), Budget(steps=steps))))
        assert agent.evaluations == steps
    assert costs[0] > costs[1] > costs[2]
    default = WireMaskEA()
    found = [default.solve(HPWL, chip, np.random.default_rng(seed), Budget()) for seed in (7, 7, 8)]
    assert default.evaluations == 1000
    assert all(np.array_equal(found[0][key], found[1][key]) for key in found[0])
    assert not np.array_equal(found[0]["x"], found[2]["x"])


def test_seconds_are_honoured() -> None:
    chip, agent = random_chip(0), WireMaskEA()
    agent.solve(HPWL, chip, np.random.default_rng(0), Budget(seconds=0.0))
    assert agent.evaluations == 1
    agent.solve(HPWL, chip, np.random.default_rng(0), Budget(seconds=0.3, steps=10**9))
    assert 1 < agent.evaluations < 10**6


def test_where_the_order_leaves_no_room_the_largest_go_first() -> None:
    """Three small macros, well connected, come before a wide one that then fits nowhere."""
    canvas = Canvas(8.0, 3.0, 8, 3)
    sizes = np.array([[1.0, 3.0], [1.0, 3.0], [1.0, 3.0], [5.0, 3.0]])
    chip = chip_of(sizes, [[0, 1], [1, 2], [0, 2], [0, 1, 2], [0, 3]], canvas)
    for agent in (GreedyWireMask(), WireMaskEA()):
        assert is_legal(chip, agent.solve(HPWL, chip, np.random.default_rng(0), Budget(steps=5)))
    crowded = chip_of(np.r_[sizes, [[5.0, 3.0]]], [[0, 1], [3, 4]], canvas)  # not all fit, whatever the order
    assert not is_legal(crowded, WireMaskEA().solve(HPWL, crowded, np.random.default_rng(0), Budget(steps=5)))


def test_soft_macros_are_placed_for_the_proxy_alone() -> None:
    from sysgym.chip_placement.geometry.force import settle_soft

    chip = random_chip(4, soft=5)
    plain, full = (GreedyWireMask().solve(which, chip, np.random.default_rng(0), Budget()) for which in (HPWL, PROXY))
    soft = chip.netlist.kind[chip.macros] == SOFT
    assert soft.sum() == 5 and is_legal(chip, full)
    for axis in ("x", "y"):  # two units off the lines of the grid, on whole units, unless they fill their cells
        moved = (full[axis] - plain[axis])[~soft] / chip.canvas.unit
        assert ((abs(moved) <= 0.5 + 1e-6) | (abs(moved - 2) <= 0.5 + 1e-6)).all()
    assert (plain["x"][soft] == 0.0).all() and (full["x"][soft] > 0.0).all()
    at = chip.placement
    x, y = at.x.copy(), at.y.copy()
    x[chip.macros], y[chip.macros] = full["x"], full["y"]
    own = chip.netlist.parent
    again = settle_soft(chip.netlist, chip.canvas, Placement(x[own], y[own], at.orientation, at.placed, at.fixed))
    assert np.array_equal(full["x"], again.x[chip.macros]) and np.array_equal(full["y"], again.y[chip.macros])


def test_nothing_to_place() -> None:
    chip = random_chip(0, fixed=16)
    for agent in (GreedyWireMask(), WireMaskEA()):
        found = agent.solve(HPWL, chip, np.random.default_rng(0), Budget(steps=150))
        assert np.array_equal(found["x"], chip.placement.x[chip.macros])
    with pytest.raises(UsageError, match="connected"):
        WireMaskEA(order="conected")


def ibm01_costs(agent: Agent, steps: int) -> list[float]:
    chip = Chip("ibm01", *read_bookshelf(IBM01))
    found = [agent.solve(HPWL, chip, np.random.default_rng(seed), Budget(steps=steps)) for seed in range(3)]
    assert all(is_legal(chip, solution) for solution in found)
    return sorted(cost(chip, solution) for solution in found)


@pytest.mark.slow
@needs(IBM01)
def test_ibm01_after_a_few_hundred_evaluations() -> None:
    """Better than the published greedy pass, 332k; and the greedy pass in our own order."""
    assert ibm01_costs(WireMaskEA(order="nets"), 300)[1] <= 3.2e5
    assert ibm01_costs(GreedyWireMask(), 1)[1] <= 1.5e5
    assert ibm01_costs(WireMaskEA(), 200)[1] <= 1.35e5


@needs(IBM01)
@pytest.mark.slow
def test_ibm01_after_a_thousand_evaluations() -> None:
    """As published (order "nets"): 240k, 266k, 281k by another implementation; its greedy pass 332k."""
    assert ibm01_costs(WireMaskEA(order="nets"), 1000)[1] <= 2.7e5
    assert ibm01_costs(GreedyWireMask(), 1)[1] <= 1.5e5
    assert ibm01_costs(WireMaskEA(), 1000)[1] <= 1.3e5


@needs(IBM01)
@pytest.mark.slow
def test_ibm01_after_seven_thousand_evaluations() -> None:
    assert ibm01_costs(WireMaskEA(order="nets"), 7000)[1] <= 2.3e5
