"""The analytic placer: gradients, merged nets, annealing of hard and soft macros; and packings of tight designs."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from public import needs_chip

from sysgym.chip_placement.cost import proxy_cost
from sysgym.chip_placement.formats.netlist import HARD, SOFT
from sysgym.chip_placement.geometry.legal import find_faults
from sysgym.chip_placement.geometry.moves import Moves
from sysgym.chip_placement.geometry.packing import legalise, pack_tightly
from sysgym.chip_placement.judge import all_nodes
from sysgym.core.problem import Solution
from sysgym.core.registry import make_problem
from sysgym_agents import Budget
from sysgym_agents.chip_placement.analytic import AnalyticPlacer
from sysgym_agents.chip_placement.placers import CDPlacer, SAPlacer, Spiral, objective_of, start_placement
from sysgym_agents.chip_placement.polish import merged, polish
from sysgym_agents.chip_placement.spreading import electric_field, spread

TILES = "tiles:rows=3,columns=3,pitch=2,soft=12,seed=3"
DESIGN = "designs/mempool_tile_ASAP7"
PEER = {  # proxies of the C++ annealer of TILOS
    "ariane133_NanGate45": 0.677877, "ariane136_NanGate45": 0.688087, "mempool_tile_NanGate45": 0.894255,
    "nvdla_NanGate45": 0.708226, "mempool_tile_ASAP7": 1.19831, "nvdla_ASAP7": 0.845290,
}  # fmt: skip
AGENTS = [Spiral(), SAPlacer(sweeps=4), SAPlacer(sweeps=6, workers=3), CDPlacer(), CDPlacer(start="anneal"),
          AnalyticPlacer(iterations=60, sweeps=8), AnalyticPlacer(starts=0, sweeps=8)]  # fmt: skip
KEPT = ("px", "py", "length", "hor", "ver", "block_h", "block_v", "grid")
names = [f"{type(agent).__name__}-{k}" for k, agent in enumerate(AGENTS)]


def solved(agent: Any, problem: Any, chip: Any, budget: Budget = Budget(), seed: int = 0) -> Solution:  # noqa: B008
    solution = agent.solve(problem, chip, np.random.default_rng(seed), budget)
    verdict = problem.judge(chip, solution)
    assert verdict.feasible, verdict
    return solution


@pytest.mark.parametrize("agent", AGENTS, ids=names)
@pytest.mark.parametrize(
    "options",
    [
        {}, {"objective": "hpwl"}, {"square_soft": False, "smoothing": 2}, {"spacing": 0.25, "congestion_grid": "auto"},
        {"wirelength_weight": 0.0}, {"density_weight": 0, "congestion_weight": 0.0},
    ],
    ids=str,
)  # fmt: skip
def test_placers_are_legal_under_every_option_and_no_worse_than_packing(agent: Any, options: dict[str, Any]) -> None:
    problem = make_problem("ChipPlacement", **options)
    chip = problem.load(TILES)
    solution = solved(agent, problem, chip)
    start = problem.judge(chip, solved(Spiral(), problem, chip)).cost
    assert problem.judge(chip, solution).cost <= start * (1 + 1e-9)


@pytest.mark.parametrize("agent", AGENTS[1:], ids=names[1:])
def test_fixed_macros_and_blockages_are_honoured(agent: Any) -> None:
    problem = make_problem("ChipPlacement")
    chip = problem.load("tiles:rows=3,columns=3,slack=2,pitch=2,soft=12")
    fixed = chip.placement.fixed.copy()
    keep = chip.movable[0]
    pins = chip.netlist.parent == keep
    fixed[pins] = True
    x, y = chip.placement.x.copy(), chip.placement.y.copy()
    x[pins], y[pins] = 5.0, 15.0
    placed = chip.placement.placed | pins
    canvas = replace(chip.canvas, blockages=((20.0, 20.0, 30.0, 25.0, 1.0),))
    chip = replace(chip, canvas=canvas, placement=replace(chip.placement, fixed=fixed, x=x, y=y, placed=placed))
    solution = solved(agent, problem, chip)
    row = int(np.flatnonzero(chip.macros == keep)[0])
    assert (solution["x"][row], solution["y"][row]) == (5.0, 15.0)


@pytest.mark.parametrize("agent", AGENTS[1:], ids=names[1:])
def test_same_seed_same_placement(agent: Any) -> None:
    problem = make_problem("ChipPlacement")
    chip = problem.load(TILES)
    budget = Budget(steps=50 if isinstance(agent, CDPlacer) else 1000)  # descent soon ends in the same place
    ours, again, other = (solved(agent, problem, chip, budget, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(ours[key], again[key]) for key in ours)
    assert not all(np.array_equal(ours[key], other[key]) for key in ours)


@needs_chip
@pytest.mark.parametrize("agent", [SAPlacer(), CDPlacer(epochs=99), AnalyticPlacer()], ids=lambda a: type(a).__name__)
def test_seconds_are_kept(agent: Any) -> None:
    problem = make_problem("ChipPlacement")
    chip = problem.load(DESIGN)
    solved(agent, problem, chip, Budget(seconds=0.01))  # compiles
    started = time.perf_counter()
    solved(agent, problem, chip, Budget(seconds=0.5))
    assert time.perf_counter() - started < 4.5


@needs_chip
@pytest.mark.parametrize("agent", [SAPlacer(sweeps=3), AnalyticPlacer(sweeps=3, iterations=50)], ids=("sa", "analytic"))
@pytest.mark.parametrize("name", ["mcnc/ami49", "mcnc/hp"])
def test_tight_floorplans_have_a_start_and_get_better(agent: Any, name: str) -> None:
    problem = make_problem("ChipPlacement", objective="hpwl")
    chip = problem.load(name)
    cost = problem.judge(chip, solved(agent, problem, chip)).cost
    assert cost < problem.judge(chip, solved(Spiral(), problem, chip)).cost


@needs_chip
def test_tight_packings_are_legal_keep_their_distance_and_may_fail() -> None:
    problem = make_problem("ChipPlacement", objective="hpwl")
    chip = problem.load("mcnc/ami49")
    rng = np.random.default_rng(0)
    found = pack_tightly(chip.netlist, chip.canvas, chip.placement, rng)
    assert found is not None and not find_faults(chip.netlist, chip.canvas, found).sentences(soft=False)
    tight = replace(chip.canvas, height=0.86 * chip.canvas.height)
    assert pack_tightly(chip.netlist, tight, chip.placement, rng, tries=8) is None
    chip = make_problem("ChipPlacement").load(DESIGN)
    for found in (
        pack_tightly(chip.netlist, chip.canvas, chip.placement, rng, spacing=0.4),
        legalise(chip.netlist, chip.canvas, chip.layout, spacing=0.4),
    ):
        assert found is not None
        wider = replace(
            chip.netlist, width=chip.netlist.width + 0.4 * (chip.netlist.kind == HARD),
            height=chip.netlist.height + 0.4 * (chip.netlist.kind == HARD),
        )  # fmt: skip
        assert find_faults(wider, chip.canvas, found).overlaps == 0
        assert find_faults(chip.netlist, chip.canvas, found).hard_outside == 0


@needs_chip
def test_merged_nets_cost_the_same() -> None:
    chip = make_problem("ChipPlacement").load(DESIGN)
    fewer = merged(chip.netlist)
    assert fewer.nets < 0.9 * chip.netlist.nets and len(fewer.pins) < 0.8 * len(chip.netlist.pins)
    rng = np.random.default_rng(0)
    many = len(chip.macros)
    for _ in range(3):
        at = rng.uniform(0, 1, (2, many)) * np.array([[chip.canvas.width], [chip.canvas.height]])
        placement = all_nodes(chip, *at, rng.integers(0, 4, many).astype(np.int8))
        costs = [proxy_cost(item, chip.canvas, placement) for item in (chip.netlist, fewer)]
        assert costs[0] == pytest.approx(costs[1], rel=1e-12)
    light = replace(chip.netlist, weight=chip.netlist.weight * 0.3)
    assert proxy_cost(light, chip.canvas, placement) == pytest.approx(
        proxy_cost(merged(light), chip.canvas, placement), rel=1e-12
    )


@needs_chip
@pytest.mark.parametrize("options", [{}, {"smoothing": 2}, {"congestion_grid": "auto", "square_soft": False}], ids=str)
def test_the_annealers_maps_are_exact(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wirelength, density, routes and blockages after thousands of moves, taken and undone, against a fresh count."""
    problem = make_problem("ChipPlacement", **options)
    chip = problem.load(DESIGN)
    recompute, drifts = Moves.recompute, []

    def checked(self: Moves) -> None:
        maps = [getattr(self, key).copy() for key in KEPT] if hasattr(self, "px") else None
        recompute(self)
        if maps is not None:
            drifts.append(max(abs(a - getattr(self, key)).max() for a, key in zip(maps, KEPT, strict=True)))

    monkeypatch.setattr(Moves, "recompute", checked)
    solved(AnalyticPlacer(iterations=50, starts=1, hot=1.0, sweeps=3), problem, chip)
    assert len(drifts) >= 3 and max(drifts) < 1e-6


def test_the_field_points_away_from_a_charge() -> None:
    charge = np.zeros((16, 16))
    charge[8, 4] = 1.0
    x, y = electric_field(charge, (2.0, 3.0))
    assert x[8, 6] > 0 > x[8, 2] and y[10, 4] > 0 > y[6, 4]
    assert abs(electric_field(np.ones((16, 16)), (1.0, 1.0))[0]).max() < 1e-12


def test_gradient_of_wirelength_is_its_difference_quotient() -> None:
    from sysgym_agents.chip_placement.chip_kernels import wire_gradient

    rng = np.random.default_rng(0)
    ptr, pins, weight = np.array([0, 3, 5]), np.array([0, 1, 2, 2, 3]), np.array([2.0, 0.5])
    x, y = rng.uniform(0, 10, (2, 4))

    def smooth(at: Any) -> float:
        total = 0.0
        for e in range(2):
            p = at[pins[ptr[e] : ptr[e + 1]]]
            up, down = np.exp(p * 0.7), np.exp(-p * 0.7)
            total += weight[e] * float((p * up).sum() / up.sum() - (p * down).sum() / down.sum())
        return total

    slope = np.zeros((2, 4))
    wire_gradient(ptr, pins, weight, np.arange(4), x, y, 0.7, *slope)
    for i in range(4):
        step = 1e-5 * (np.arange(4) == i)
        for at, found in ((x, slope[0]), (y, slope[1])):
            assert found[i] == pytest.approx((smooth(at + step) - smooth(at - step)) / 2e-5, abs=1e-6)


@needs_chip
def test_soft_moves_and_gradients_pay() -> None:
    """A few sweeps: below the random packing with forces by far, soft moves below hard moves alone."""
    problem = make_problem("ChipPlacement")
    chip = problem.load(DESIGN)
    rng = np.random.default_rng(0)
    spreaded = spread(merged(chip.netlist), chip.canvas, chip.placement, rng, chip.netlist.macros, iterations=150)
    legal = legalise(chip.netlist, chip.canvas, spreaded)
    assert legal is not None
    gradient = proxy_cost(chip.netlist, chip.canvas, legal).proxy()
    packing = problem.judge(chip, solved(Spiral(), problem, chip)).cost
    assert gradient < 0.85 * packing
    netlist, canvas, weights = objective_of(problem, chip)
    costs = []
    for soft in (np.zeros(0, np.int64), np.flatnonzero(netlist.kind == SOFT)):
        how = {"weights": weights, "soft": soft, "sweeps": 15}
        found = polish(netlist, canvas, legal, np.random.default_rng(0), Budget(), **how)
        assert not find_faults(netlist, canvas, found).sentences()
        costs.append(proxy_cost(netlist, canvas, found).proxy())
    assert costs[1] < 0.95 * costs[0] and costs[0] < gradient


def test_a_chip_without_room_is_refused() -> None:
    from sysgym.core.errors import UsageError

    chip = make_problem("ChipPlacement").load("tiles:rows=2,columns=2,slack=0")
    assert start_placement(chip, np.random.default_rng(0)) is not None
    with pytest.raises(UsageError, match="no legal placement"):
        start_placement(replace(chip, canvas=replace(chip.canvas, width=15.0)), np.random.default_rng(0))


@pytest.mark.slow
@needs_chip
@pytest.mark.parametrize("name", PEER)
def test_forty_temperatures_beat_the_peer(name: str) -> None:
    """Three to six seconds; TILOS' C++ annealer took 15 to 90 seconds of CPU time for its figures."""
    problem = make_problem("ChipPlacement")
    chip = problem.load(f"ct/{name}")
    assert problem.judge(chip, solved(AnalyticPlacer(sweeps=40), problem, chip)).cost < 0.97 * PEER[name]


@pytest.mark.slow
def test_the_annealer_is_near_the_peer() -> None:
    """One seed; `sysgym bench chip` takes the median of three."""
    problem = make_problem("ChipPlacement")
    chip = problem.load("designs/ariane133_NanGate45")
    assert problem.judge(chip, solved(SAPlacer(), problem, chip)).cost <= 0.70


@pytest.mark.parametrize("agent", [AnalyticPlacer(), AnalyticPlacer(starts=0), SAPlacer()])
def test_fixed_soft_macros_stay(agent: Any) -> None:
    """Moving one would be a violation, whatever it saves."""
    chip = make_problem("ChipPlacement").load("tiles:rows=2,columns=3,slack=2,soft=4,ports=4,seed=2")
    fixed = chip.placement.fixed.copy()
    node = int(chip.macros[chip.netlist.kind[chip.macros] == SOFT][0])
    fixed[chip.netlist.parent == node] = True
    chip = replace(chip, placement=replace(chip.placement, fixed=fixed))
    problem = make_problem("ChipPlacement")
    solution = solved(agent, problem, chip, Budget(steps=500))
    row = int(np.flatnonzero(chip.macros == node)[0])
    assert (solution["x"][row], solution["y"][row]) == (chip.placement.x[node], chip.placement.y[node])
    assert problem.judge(chip, solution).feasible
