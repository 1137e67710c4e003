"""The width mode: constant widths are beams, what is judged is replayed, and rules and networks drop hypotheses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import sysgym
from sysgym.core.errors import InvalidSolution, UsageError
from sysgym.text.catalogue import load_model
from sysgym.text.episodes.sentences import sentences
from sysgym.text.search import Beam, beam_search
from sysgym_agents.core import Budget, make_agent
from sysgym_agents.general.random import sample_action


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Importing the libraries is no part of a test."""
    import torch._dynamo  # noqa: F401


def problem(k: int = 4, lam: float = 0.01) -> Any:
    return sysgym.make_problem("NMTDecoding", mode="width", k=k, lam=lam)


def solved(agent: str, made: Any, instance: Any, **hyper: Any) -> Any:
    return make_agent(agent, **hyper).solve(made, instance, np.random.default_rng(0), Budget())


@pytest.mark.parametrize("width", [2, 4])
def test_a_constant_width_is_a_beam_of_it(width: int) -> None:
    made = problem()
    names, model = made.load("ar2en/test-0"), load_model("translit")
    task = made.task(names)
    verdict = made.judge(names, solution := solved("beam", made, names, width=width))
    limits = set(task.limits)
    for limit in limits:  # a beam has one limit, and names have their own
        rows = [i for i, each in enumerate(task.limits) if each == limit]
        found = beam_search(model, [task.sources[i] for i in rows], Beam(width=width, alpha=1.0), limit)
        texts = [model.text(found.best(row)) for row in range(len(rows))]
        assert [made.legend(names, solution)[i]["answer"] for i in rows] == texts
    assert 1 < verdict.metrics["forwards"] <= 1.05 * width
    with pytest.raises(UsageError, match=r"beams of 1 to 4 and alpha 1; got 5/1"):
        solved("beam", made, names, width=5)


@pytest.mark.parametrize("seed", [0, 1])
def test_episodes_end_in_what_is_judged(seed: int) -> None:
    """Rewards add up to quality and price; the judge searches for all names together, the episode one by one."""
    env: Any = gym.make("sysgym/NMTDecoding-v0", mode="width", k=4, lam=0.02, instance="ar2en/valid-0").unwrapped
    observation, _ = env.reset(seed=seed)
    rng, total, over, info = np.random.default_rng(seed), 0.0, False, {}
    start = env.dynamics.cost(env.instance, env.state)
    while not over:
        action = sample_action(rng, env.action_space, observation["action_mask"])
        observation, reward, over, _, info = env.step(action)
        total += reward
    verdict = info["verdict"]
    assert verdict["cost"] == env.dynamics.cost(env.instance, env.state)  # bit for bit
    assert total == pytest.approx((start - verdict["cost"]) / 100, abs=1e-9)
    quality = 100 - 0.5 * (verdict["metrics"]["bleu"] + verdict["metrics"]["chrf"])
    assert verdict["cost"] == pytest.approx(quality + 2 * verdict["metrics"]["forwards"], abs=1e-9)


def test_what_the_widths_do_not_answer_is_refused() -> None:
    made = problem()
    names = made.load("ar2en/valid-0")
    solution = solved("pruned-beam", made, names)
    for change, match in (
        (lambda w: w.__setitem__((0, 0), 0), r"row 1 of `widths` decides \d+ steps, and its search has \d+"),
        (lambda w: w.__setitem__((1, -1), 1), r"row 2 of `widths` decides \d+ steps"),
    ):
        other = {**solution, "widths": solution["widths"].copy()}
        change(other["widths"])
        with pytest.raises(InvalidSolution, match=match):
            made.judge(names, other)
    greedy = solved("beam", made, names, width=1)
    with pytest.raises(InvalidSolution, match="is not what its widths answer"):
        made.judge(names, {**solution, "widths": greedy["widths"]} if len(greedy["widths"]) else solution)


def test_what_was_replayed_before_fits_shorter_names() -> None:
    """Sentences are remembered by themselves: in another instance they stand beside others."""
    made, names = problem(), problem().load("ar2en/valid-0")
    lengths = [len(source) for source in made.task(names).sources]
    order = np.argsort(lengths)
    lines, wanted = names.sources, names.references

    def part(rows: list[int]) -> Any:
        return sentences("mine", "translit", [lines[i] for i in rows], [wanted[i] for i in rows])

    both, alone = part([int(order[0]), int(order[-1])]), part([int(order[0])])
    first = made.judge(both, solved("beam", made, both, width=1))
    assert first.feasible and made.judge(alone, solved("beam", made, alone, width=1)).feasible
    assert made.reference_costs(alone)["greedy"] > 0


def test_a_gap_prunes_between_one_and_all() -> None:
    made = problem()
    names = made.load("ar2en/test-0")
    forwards = [
        made.judge(names, solved("pruned-beam", made, names, gap=gap)).metrics["forwards"] for gap in (0.0, 0.4, 100.0)
    ]
    assert forwards == sorted(forwards) and forwards[0] < forwards[1] < forwards[2]
    whole = solved("pruned-beam", made, names, gap=100.0)
    assert all((whole[key] == solved("beam", made, names, width=4)[key]).all() for key in ("text", "ends"))


def test_a_network_learns_which_hypotheses_matter(tmp_path: Path) -> None:
    """It drops those that the rule drops, and others, at a lower cost than a whole beam's on names of its training."""
    made = problem(lam=0.02)
    names = [made.load(f"ar2en/valid-{i}") for i in range(2)]
    agent = make_agent("learnt-beam", hidden=16, sentences=128, learning_rate=0.01)
    told: list[dict[str, float]] = []
    agent.fit(made, names, np.random.default_rng(0), Budget(steps=300), lambda row: told.append(row) or True)
    agent.save(tmp_path)
    again = make_agent("learnt-beam")
    again.load(tmp_path)

    def judged(**hyper: Any) -> Any:
        for name, value in hyper.items():
            setattr(again, name, value)
        return [made.judge(each, again.solve(made, each, np.random.default_rng(0), Budget())) for each in names]

    whole = [made.judge(each, solved("beam", made, each, width=4)) for each in names]
    assert sum(v.cost for v in judged()) < sum(v.cost for v in whole)
    for threshold, width in ((0.0, 4), (1.0, 1)):
        expected = [made.judge(each, solved("beam", made, each, width=width)).cost for each in names]
        assert [v.cost for v in judged(threshold=threshold)] == expected


def test_what_chooses_no_widths_is_refused() -> None:
    made = sysgym.make_problem("NMTDecoding")
    names = made.load("ar2en/valid-0")
    for agent in ("pruned-beam", "learnt-beam"):
        with pytest.raises(UsageError, match="cannot act in mode 'token': it chooses widths"):
            solver = make_agent(agent)
            if agent == "learnt-beam":
                solver.fit(made, [names], np.random.default_rng(0), Budget(steps=1))
            solver.solve(made, names, np.random.default_rng(0), Budget())
