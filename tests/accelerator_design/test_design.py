"""Designs as files, budgets, masks and the searches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym import InvalidSolution, make_problem
from sysgym.accelerator_design.bound_kernels import needed, possible
from sysgym.accelerator_design.fastsim_kernels import area_and_power
from sysgym.accelerator_design.judge import quick_costs
from sysgym.accelerator_design.simulator import tpu_v3, works
from sysgym.accelerator_design.space import COUNTS, NAMES, TABLE, indices, machines, named
from sysgym.core.solutions import read_solution, write_solution
from sysgym_agents.accelerator_design.evaluations import Evaluations
from sysgym_agents.accelerator_design.searches import Genetic, random_designs
from sysgym_agents.core import Budget

Inline = Callable[..., Any]
BEST_B7 = {
    "pe_x": 8, "pe_y": 8, "sa_x": 64, "sa_y": 16, "vm": 4, "l1cfg": 0, "l1i": 64, "l1w": 4, "l1o": 16, "l2cfg": 0,
    "l2i": 16, "l2w": 1, "l2o": 16, "gm": 128, "ch": 4, "batch": 2,
}  # fmt: skip


def test_the_best_known_design_of_b7() -> None:
    problem: Any = make_problem("AcceleratorDesign")
    work = problem.load("fast/efficientnet-b7")
    verdict = problem.judge(work, {"design": indices(BEST_B7)})
    assert verdict.feasible and 1 / verdict.cost == pytest.approx(4.6412, rel=1e-4)
    assert verdict.metrics["perf_per_tdp"] == pytest.approx(1 / verdict.cost)
    assert list(problem.reference_costs(work)) == ["tpu-v3", "tpu-v3 rescheduled", "genetic, 60,000 evaluations"]
    tight: Any = make_problem("AcceleratorDesign", area_budget=0.5, tdp_budget=0.5, latency_ms=0.01)
    over = tight.judge(work, {"design": indices(BEST_B7)})
    assert not over.feasible and over.cost == verdict.cost and len(over.violations) == 3 and over.metrics["excess"] > 2
    several = problem.judge(problem.load("fast/multi5"), {"design": indices(BEST_B7)})
    own = [value for name, value in several.metrics.items() if name.startswith("perf_per_tdp ")]
    assert len(own) == 5 and np.exp(np.mean(np.log(own))) == pytest.approx(1 / several.cost)


def test_objectives_by_hand() -> None:
    design = indices(BEST_B7)
    machine = machines(design[None])[0]
    for objective in ("perf", "perf_per_tdp", "edp"):
        problem: Any = make_problem("AcceleratorDesign", objective=objective)
        work = problem.load("cnns/train-0")
        tpu, _, tpu_power = tpu_v3(work)
        seconds = problem.judge(work, {"design": design}).metrics["seconds_per_batch"]
        power = area_and_power(machine)[1]
        ours, theirs = 2 / seconds, 256 / tpu[0]
        value = {"perf": theirs / ours, "perf_per_tdp": (theirs / tpu_power) / (ours / power),
                 "edp": (power * seconds**2 / 2) / (tpu_power * tpu[0] ** 2 / 256)}[objective]  # fmt: skip
        assert problem.judge(work, {"design": design}).cost == pytest.approx(value)


def test_designs_by_name_and_by_row(tmp_path: Path, inline: Inline) -> None:
    problem: Any = make_problem("AcceleratorDesign")
    work = problem.load("cnns/train-0")
    path = tmp_path / "design.json"
    write_solution(problem, work, {"design": indices(BEST_B7)}, path)
    assert (read_solution(problem, work, path)["design"] == indices(BEST_B7)).all()
    path.write_text(json.dumps({**BEST_B7, "l1cfg": "private", "l2cfg": "disabled"}))
    assert (read_solution(problem, work, path)["design"] == indices(BEST_B7)).all()
    assert named(indices(BEST_B7)) == BEST_B7
    shown = inline("judge", "cnns/train-0", str(path), "-p", "AcceleratorDesign").stdout
    assert "feasible" in shown and "tdp_w" in shown
    for change, sentence in (
        ({"gm": 3}, "gm of a design must be one of 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, got 3"),
        ({"l1cfg": "both"}, "l1cfg of a design must be one of 0, 1, 'private', 'shared', got 'both'"),
        ({"pe_z": 1}, "unknown parameter 'pe_z'. Did you mean 'pe_"),
    ):
        with pytest.raises(InvalidSolution, match=sentence):
            indices({**BEST_B7, **change})
    with pytest.raises(InvalidSolution, match="the design lacks 'batch'"):
        indices({name: value for name, value in BEST_B7.items() if name != "batch"})
    with pytest.raises(InvalidSolution, match="vm has 5 values, rows 0 to 4; got 9"):
        problem.judge(work, {"design": np.where(np.array(NAMES) == "vm", 9, 0)})


def test_masks_leave_every_feasible_design_possible_and_never_end_in_none() -> None:
    rng = np.random.default_rng(0)
    limits = 1.5 * 224.4492, 131.3334609
    kept = 0
    for design in random_designs(rng, 3000):
        machine = machines(design[None])[0]
        area, power = area_and_power(machine)
        feasible = works(machine[None])[0] and area <= limits[0] and power <= limits[1]
        partial, masked = np.full(len(COUNTS), -1), False
        for place, choice in enumerate(design.tolist()):
            found = np.zeros(COUNTS[place], bool)
            assert possible(TABLE, COUNTS, partial, place, *limits, found) == found.sum() > 0
            if not found[choice]:
                masked = True
                break
            partial[place] = choice
        assert masked == (not feasible)
        kept += feasible
    assert kept > 200
    values = np.zeros(16)
    known = np.zeros(16, bool)
    values[[NAMES.index("sa_x"), NAMES.index("sa_y")]], known[[2, 3]] = 256, True
    area, power, fits = needed(values, known, np.inf, np.inf)
    assert fits and area > 0 and power > 0 and not needed(values, known, 1.0, np.inf)[2]


def test_quick_costs_are_those_of_the_greedy_judge() -> None:
    problem: Any = make_problem("AcceleratorDesign", fusion="greedy")
    work = problem.load("cnns/valid-0")
    designs = random_designs(np.random.default_rng(1), 50)
    cost, over = quick_costs(problem.rules, problem.measured(work), designs)
    for design, value, excess in zip(designs, cost, over, strict=True):
        verdict = problem.judge(work, {"design": design})
        assert verdict.cost == pytest.approx(value, rel=1e-12) and verdict.feasible == (excess == 0)


def test_a_design_that_cannot_work() -> None:
    problem: Any = make_problem("AcceleratorDesign")
    work = problem.load("cnns/train-0")
    design = indices({**BEST_B7, "l1w": 1, "sa_x": 256, "sa_y": 256})
    verdict = problem.judge(work, {"design": design})
    assert not verdict.feasible and verdict.violations[0].startswith("the buffers hold no tile")
    whole = problem.judge(work, {"design": indices(BEST_B7)})
    assert set(whole.metrics) == set(verdict.metrics)
    assert "INFEASIBLE" in problem.describe(work, {"design": design})
    assert "longest regions" in problem.describe(work, {"design": indices(BEST_B7)})


def test_evaluations_are_counted() -> None:
    problem: Any = make_problem("AcceleratorDesign")
    work = problem.load("cnns/train-0")
    designs = random_designs(np.random.default_rng(0), 30)
    evaluate = Evaluations(problem, work, Budget(steps=20), 100)
    first = evaluate(np.concatenate([designs[:10], designs[:10]]))
    assert evaluate.count == 10 and (first[:10] == first[10:]).all() and not evaluate.spent
    assert np.isinf(evaluate(designs)).sum() == 10 and evaluate.count == 20 and evaluate.spent


def test_the_genetic_search_beats_random_designs_and_tpu_v3() -> None:
    problem: Any = make_problem("AcceleratorDesign", fusion="greedy")
    work = problem.load("fast/efficientnet-b0")
    found = [
        1 / problem.judge(work, Genetic().solve(problem, work, np.random.default_rng(seed), Budget(steps=2000))).cost
        for seed in range(3)
    ]
    cost, over = quick_costs(problem.rules, problem.measured(work), random_designs(np.random.default_rng(0), 2000))
    assert min(found) > 4 and min(found) > 1.3 / cost[over == 0].min()
    again = Genetic().solve(problem, work, np.random.default_rng(0), Budget(steps=2000))
    assert 1 / problem.judge(work, again).cost == found[0]
