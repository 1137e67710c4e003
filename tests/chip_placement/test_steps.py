"""A step of a placer's budget is a judged candidate: counted from outside, at the kernels that compute costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sysgym import make_problem
from sysgym_agents.chip_placement import analytic_kernels, chip_kernels, spreading
from sysgym_agents.chip_placement.placers import Setting
from sysgym_agents.core import Budget, make_agent

TILES = "tiles/test-0"
AGENTS: dict[str, dict[str, Any]] = {
    "sa-placer": {}, "cd-placer": {}, "cd-placer from annealing": {"start": "anneal"}, "analytic": {},
    "analytic from a packing": {"starts": 0}, "freed": {}, "forces": {"hard": "sa-placer"},
    "several chains": {"workers": 3},
}  # fmt: skip
NAMED = {"several chains": "sa-placer"}


def made(name: str) -> Any:
    return make_agent(NAMED.get(name, name.split()[0]), **AGENTS[name])


def solved(agent: Any, budget: Budget, seed: int = 0, **options: Any) -> tuple[Any, Any]:
    problem = make_problem("ChipPlacement", **options)
    chip = problem.load(TILES)
    solution = agent.solve(problem, chip, np.random.default_rng(seed), budget)
    return solution, problem.judge(chip, solution)


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Candidates judged so far: moves tried, places, gradient steps, and placements after the forces."""
    found = [0]

    def counting(module: Any, name: str, many: Callable[..., int]) -> None:
        kept = getattr(module, name)

        def counted(*given: Any, **named: Any) -> Any:
            result = kept(*given, **named)
            found[0] += many(result, *given, **named)
            return result

        monkeypatch.setattr(module, name, counted)

    counting(chip_kernels, "sweep", lambda _, rng, tries, *more: tries)
    counting(analytic_kernels, "anneal_any", lambda _, rng, tries, *more: tries)
    counting(chip_kernels, "best_place", lambda judged, *more: judged)
    counting(spreading, "spread", lambda _, *given, iterations, **named: iterations)
    counting(Setting, "settle", lambda _, setting, placement: int(setting.forces))
    return lambda: found[0]


@pytest.mark.parametrize("steps", [1, 2, 9, 700])
@pytest.mark.parametrize("name", AGENTS)
def test_no_more_is_judged_than_the_steps_allow(name: str, steps: int, count: Callable[[], int]) -> None:
    _, verdict = solved(made(name), Budget(steps=steps))
    chains = AGENTS[name].get("workers", 1)  # each settles the one start
    assert verdict.feasible and count() <= steps + chains - 1
    assert steps < 700 or count() > 0.5 * steps or name.startswith("cd-placer")  # descent ends where its epochs do


def test_so_many_steps_as_the_usual_sweeps_take_give_the_usual_answer() -> None:
    """The schedule of temperatures follows the steps."""
    chip = make_problem("ChipPlacement").load(TILES)
    for sweeps in (1, 3):
        agent = make_agent("sa-placer", sweeps=sweeps)
        steps = 1 + sweeps * (agent.tries * len(chip.movable) + 1)
        budgets = (Budget(), Budget(steps=steps), Budget(steps=steps // 2))
        usual, same, fewer = (solved(agent, budget)[0] for budget in budgets)
        assert all(np.array_equal(usual[key], same[key]) for key in usual)
        assert not all(np.array_equal(usual[key], fewer[key]) for key in usual)


@pytest.mark.parametrize("name", ["sa-placer", "cd-placer", "analytic", "freed"])
def test_the_packing_is_answered_first(name: str) -> None:
    packed = solved(make_agent("spiral"), Budget())[1].cost
    costs = [solved(made(name), Budget(steps=steps))[1].cost for steps in (1, 2000)]
    assert costs[0] <= packed + 1e-12 and costs[1] < packed


@pytest.mark.parametrize("budget", [Budget(seconds=0.0), Budget(cpu_seconds=0.0)], ids=["wall", "cpu"])
def test_without_time_the_answer_is_the_packing(budget: Budget) -> None:
    packed = solved(make_agent("spiral"), Budget())[1].cost
    for name in ("sa-placer", "analytic", "freed"):
        assert solved(made(name), budget)[1].cost <= packed + 1e-12


def test_macro_only_wirelength_counts_no_forces(count: Callable[[], int]) -> None:
    solved(make_agent("sa-placer"), Budget(steps=500), mode="hpwl")
    assert count() == 499  # and the start
