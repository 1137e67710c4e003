"""Searches of designs and the surrogate: budgets, what they evaluate, and that training is what helps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym import MissingDependency, UsageError, make_problem
from sysgym.accelerator_design.bound_kernels import repair
from sysgym.accelerator_design.catalogue import known_designs
from sysgym.accelerator_design.fastsim_kernels import area_and_power
from sysgym.accelerator_design.simulator import works
from sysgym.accelerator_design.space import COUNTS, L2CFG, L2I, L2O, TABLE, TPU_V3, machines
from sysgym.core.problem import Array
from sysgym_agents.accelerator_design import evaluations
from sysgym_agents.accelerator_design.searches import random_designs
from sysgym_agents.core import Budget, make_agent

SEARCHES = ("genetic", "swarm", "cma-es", "tpe", "nsga2")


@pytest.fixture(scope="module")
def problem() -> Any:
    return make_problem("AcceleratorDesign", fusion="greedy")


def solved(agent: Any, problem: Any, name: str, seed: int, steps: int) -> float:
    work = problem.load(name)
    return float(problem.judge(work, agent.solve(problem, work, np.random.default_rng(seed), Budget(steps=steps))).cost)


@pytest.mark.parametrize("factors", [(1.5, 1.0), (0.4, 0.4), (3.0, 2.0)])
def test_designs_are_brought_within_the_budgets_and_no_further(factors: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    limits = tuple(factor * float(size) for factor, size in zip(factors, area_and_power(TPU_V3), strict=True))
    drawn = random_designs(rng, 2000)
    found = drawn.copy()
    repair(TABLE, COUNTS, found, np.argsort(rng.random(found.shape), axis=1), *limits)
    assert ((found >= 0) & (found < COUNTS)).all()

    def within(designs: Array) -> Array:
        rows = machines(designs)
        sizes = np.array([area_and_power(row) for row in rows])
        return np.asarray(works(rows) & (sizes <= limits).all(axis=1))

    good = within(drawn)
    assert within(found).all() and (found[good] == drawn[good]).all() and (found != drawn).any(axis=1)[~good].all()


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_evaluate_what_the_budget_says_and_nothing_over_it(
    name: str, problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"cma-es": "cma", "tpe": "optuna", "nsga2": "pymoo"}.get(name, "numpy"))
    made: list[evaluations.Evaluations] = []

    class Watched(evaluations.Evaluations):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(evaluations, "Evaluations", Watched)
    cost = solved(make_agent(name), problem, "cnns/valid-0", 1, 120)
    (watched,) = made
    designs = watched.designs()
    assert watched.count == len(designs) == 120 and cost == min(watched.known.values())
    assert (
        max(watched.known.values()) < evaluations.PENALTY and not designs[designs[:, L2CFG] == 0, L2I : L2O + 1].any()
    )


@pytest.mark.parametrize(("agent", "library"), [("cma-es", "cma"), ("tpe", "optuna"), ("nsga2", "pymoo")])
def test_a_missing_library_is_named(agent: str, library: str, problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependency, match=rf"{library}: pip install 'sysgym\[searches\]'"):
        solved(make_agent(agent), problem, "cnns/valid-0", 0, 5)


def test_the_genetic_search_reaches_its_bar_on_b0() -> None:
    problem = make_problem("AcceleratorDesign")
    costs = [solved(make_agent("genetic"), problem, "fast/efficientnet-b0", seed, 5000) for seed in range(3)]
    assert 1 / np.median(costs) >= 6.0


def test_known_designs_come_first(problem: Any) -> None:
    work = problem.load("fast/resnet50v2")
    best = min(float(problem.judge(work, {"design": design}).cost) for design in known_designs())
    assert solved(make_agent("genetic", start="known"), problem, work.name, 0, 50) <= best
    assert best < 0.4 < solved(make_agent("genetic"), problem, work.name, 0, 50)


# ---------------------------------------------------------------------------------------------------- the surrogate


SMALL = {"hidden": 32, "networks": 4, "designs": 100}


def fitted(problem: Any, steps: int, **hyper: Any) -> Any:
    agent = make_agent("surrogate", **{**SMALL, **hyper})
    works = [problem.load(f"cnns/train-{i}") for i in range(3)]
    agent.fit(problem, works, np.random.default_rng(0), Budget(steps=steps))
    return agent


def test_region_times_are_those_of_the_simulator(problem: Any) -> None:
    from sysgym_agents.accelerator_design.surrogate_train import times_of

    work = problem.load("mixed:seed=4")
    designs = known_designs()
    total, regions = times_of(problem, work, designs)
    wanted = problem.measured(work).simulator.seconds(machines(designs)) * 1e9
    np.testing.assert_allclose(total, wanted, rtol=1e-12)
    assert (regions.sum(axis=1) >= total[:, 0] * (1 - 1e-12)).all() and (regions.sum(axis=1) < 1.3 * total[:, 0]).all()


def test_a_prediction_is_the_networks_for_every_region(problem: Any) -> None:
    """Regions that look alike are computed once, networks of one instance are summed apart."""
    import torch

    from sysgym_agents.accelerator_design.surrogate_net import Predictor, SurrogateNet, example_of

    torch.manual_seed(0)
    net, work = SurrogateNet(16, 2), problem.load("fast/multi5")
    designs = known_designs()
    example = example_of(problem, work)
    with torch.no_grad():
        logs = net(net.encode(example), example.regions, machines(designs)).numpy().astype(np.float64)
    wanted = np.add.reduceat(np.exp(logs), work.first[:-1], axis=1) * 1e-9
    predictor = Predictor(net, problem, work)
    np.testing.assert_allclose(predictor.seconds(designs), wanted, rtol=1e-4)
    assert len(predictor.often) < 0.6 * len(work.kind) and predictor.often.sum() == len(work.kind)


def test_a_training_goes_on_exactly_where_it_stopped(problem: Any, tmp_path: Path) -> None:
    whole = fitted(problem, 24)
    works = [problem.load(f"cnns/train-{i}") for i in range(3)]
    part = make_agent("surrogate", **SMALL)
    heard: list[float] = []

    def stop(row: dict[str, float]) -> bool:
        heard.append(row["loss"])
        part.save(tmp_path)
        return part.save_training(tmp_path) and False

    import sysgym_agents.accelerator_design.surrogate as module

    told, module.TOLD = module.TOLD, 12
    try:
        part.fit(problem, works, np.random.default_rng(0), Budget(steps=24), stop)
    finally:
        module.TOLD = told
    again = make_agent("surrogate")
    again.load(tmp_path)
    assert len(heard) == 1 and again.load_training(tmp_path, Budget(steps=12))
    again.fit(problem, works, np.random.default_rng(9), Budget(steps=12))
    for name, value in whole.weights().items():
        np.testing.assert_array_equal(value.numpy(), again.weights()[name].numpy())


def test_weights_are_for_one_model(problem: Any) -> None:
    agent = fitted(problem, 1)
    other = make_problem("AcceleratorDesign", schedule=1)
    with pytest.raises(UsageError, match="schedule=2 with fusion, not schedule=1 with fusion"):
        solved(agent, other, "cnns/valid-0", 0, 20)


@pytest.mark.slow
def test_the_surrogate_leads_on_networks_that_it_has_not_seen(problem: Any) -> None:
    """After a minute of training: above its own fresh weights, and above a genetic search that knows good designs."""
    agent = make_agent("surrogate", hidden=64, networks=200)
    entries = problem.instance_sets()["fast"].entries
    works = [problem.load(entry.name) for entry in entries if entry.split == "train"]
    agent.fit(problem, works, np.random.default_rng(0), Budget(steps=4000))
    names = ("fast/resnet50v2", "fast/bert-base-1024", "fast/ocr-rpn-like")
    rivals = {"trained": agent, "known": make_agent("genetic", start="known"), "genetic": make_agent("genetic")}
    means = {}
    for who, rival in rivals.items():
        means[who] = np.mean([np.log(solved(rival, problem, name, seed, 300)) for name in names for seed in range(2)])
    agent.forget(np.random.default_rng(1))
    means["fresh"] = np.mean([np.log(solved(agent, problem, name, 0, 300)) for name in names])
    assert means["trained"] < min(means["known"], means["genetic"], means["fresh"]) - 0.02


def test_a_policy_learns_what_good_designs_have_in_common_and_fills_in_the_rest(problem: Any, tmp_path: Path) -> None:
    """Told the other parameters, it draws hidden ones as the designs that it saw have them, and no others."""
    from sysgym_agents.accelerator_design.guided_train import Imitation, Writer
    from sysgym_agents.accelerator_design.surrogate_train import Training

    works = [problem.load("cnns/train-0")]
    progress = Imitation(problem, works, Training(16, 1, 1e-2, 150, 0, 300), np.random.default_rng(0))
    first = [progress.step(0.0)["loss"] for _ in range(10)]
    last = [progress.step(0.0)["loss"] for _ in range(140)][-10:]
    assert np.mean(last) < 0.5 * np.mean(first)
    source = progress.networks[0]
    best = source.designs[np.argsort(source.costs, kind="stable")[:40]]
    hidden = np.zeros(best.shape, bool)
    hidden[:, :4] = True
    drawn = Writer(progress.net, problem, works[0]).redraw(best, hidden, np.random.default_rng(0))
    assert (drawn[:, 4:] == best[:, 4:]).all() and (drawn < COUNTS).all()
    assert (drawn[:, :4] == best[:, :4]).mean() > 0.3


def test_an_evolution_is_guided(problem: Any, tmp_path: Path) -> None:
    agent = make_agent("guided-genetic", hidden=16, layers=1, networks=2, designs=100)
    agent.fit(problem, [problem.load("cnns/train-0")], np.random.default_rng(0), Budget(steps=40))
    agent.save(tmp_path)
    again = make_agent("guided-genetic")
    again.load(tmp_path)
    costs = [solved(each, problem, "cnns/valid-0", 3, 100) for each in (agent, again)]
    assert costs[0] == costs[1] < solved(make_agent("random"), problem, "cnns/valid-0", 3, 100)
