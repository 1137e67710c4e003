"""The search over hard macros that sees what forces leave."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sysgym.core.errors import UsageError
from sysgym.core.registry import make_problem
from sysgym_agents import Budget, make_agent
from sysgym_agents.chip_placement.forces import AnalyticForces, Plan, search
from sysgym_agents.chip_placement.placers import prepare, start_placement

PROXY = make_problem("ChipPlacement")
DESIGN = "designs/mempool_tile_ASAP7"


def cost_of(agent: object, steps: int, name: str = DESIGN, seed: int = 0) -> float:
    chip = PROXY.load(name)
    solution = agent.solve(PROXY, chip, np.random.default_rng(seed), Budget(steps=steps))  # type: ignore[attr-defined]
    verdict = PROXY.judge(chip, solution)
    assert verdict.feasible and verdict.metrics["strict"]
    again = PROXY.judge(chip, PROXY.restrict(chip, solution, "forces"))
    assert verdict == again  # the judge's own forces put its soft macros in the same places
    return verdict.cost


@pytest.mark.slow
def test_it_beats_annealing_with_as_many_judged_candidates() -> None:
    """`sa-placer` settles after a sweep of 20 moves a macro, and goes on from whatever the forces leave."""
    ours = [cost_of(AnalyticForces(starts=0), 20_000, seed=seed) for seed in range(2)]
    theirs = [cost_of(make_agent("sa-placer"), 20_000, seed=seed) for seed in range(2)]
    assert max(ours) < min(theirs) <= cost_of(make_agent("spiral"), 1)


def test_what_it_returns_costs_what_it_kept_and_rounds_only_help() -> None:
    chip = PROXY.load(DESIGN)
    setting, start = prepare(PROXY, chip, start_placement(chip, np.random.default_rng(0)))
    costs = [setting.cost(setting.settle(start))]
    for rounds in (3, 12):
        found = search(setting, start, np.random.default_rng(1), Budget(), Plan(rounds, 4.0, 1.0, 0.02, 0.01))
        costs.append(setting.cost(setting.settle(found)))  # placing the soft macros again changes nothing
        assert np.array_equal(setting.settled(found).x, found.x)
    assert all(later <= sooner for sooner, later in pairwise(costs)) and costs[-1] < costs[0]


@pytest.mark.parametrize("name", ["tiles:rows=2,columns=2,soft=0", "tiles:rows=1,columns=1,soft=2,ports=3"])
def test_small_chips_and_small_budgets(name: str) -> None:
    chip = PROXY.load(name)
    for budget in (Budget(steps=1), Budget(steps=30), Budget(seconds=0.0), Budget(cpu_seconds=0.05)):
        found = AnalyticForces().solve(PROXY, chip, np.random.default_rng(0), budget)
        assert PROXY.judge(chip, found).feasible
    hpwl = make_problem("ChipPlacement", mode="hpwl")
    found = AnalyticForces(rounds=5).solve(hpwl, chip, np.random.default_rng(0), Budget())
    assert hpwl.judge(chip, found).feasible


def test_moves_that_grow_are_refused() -> None:
    with pytest.raises(UsageError, match=r"least must be above 0 and at most most, got least=9\.0 and most=2\.0"):
        AnalyticForces(most=2.0, least=9.0)
