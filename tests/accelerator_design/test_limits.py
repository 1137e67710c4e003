"""Sizes beyond any machine, odd topologies and recipes: one sentence each, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym import InvalidSolution, UsageError, make_problem
from sysgym.accelerator_design.space import NAMES, TPU_V3
from sysgym_agents.core import Budget, make_agent

HEADER = "Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides,\n"
LAYER = "c1,224,224,7,7,3,64,2,\n"


@pytest.fixture(scope="module")
def problem() -> Any:
    return make_problem("AcceleratorDesign", fusion="greedy")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (HEADER + "c1,1000000000,1000000000,7,7,1000000,64,1,\n", "larger than any machine could run"),
        (HEADER + f"c1,{10**30},{10**30},7,7,3,64,1,\n", "line 2: no size may be larger than"),
        (HEADER + "c" * 200_000 + ",224,224,7,7,3,64,2,\n", "is no table of layers"),
        (HEADER + LAYER + "c2,224,224,,7,3,64,2,9,1\n", "line 3: expected name, IFMAP height"),
        (HEADER + "c1,224,224,7,7,3,64,2,1\n", "line 2: expected name, IFMAP height"),
        (LAYER + LAYER, "line 1: expected a header"),
        (HEADER, "holds no layer"),
    ],
)
def test_topologies_are_read_as_they_stand_or_refused(text: str, sentence: str, problem: Any, tmp_path: Path) -> None:
    (tmp_path / "net.csv").write_text(text)
    with pytest.raises(UsageError, match=sentence):
        problem.load(str(tmp_path / "net.csv"))


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ("bert:tokens=" + "9" * 5000, "tokens must be a whole number"),
        ("bert:tokens=1,tokens=2", "gives tokens twice"),
        ("mixed:seed=-1", "seed must be a whole number"),
    ],
)
def test_recipes_that_say_too_much(recipe: str, sentence: str, problem: Any) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        problem.load(recipe)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("seed", range(6))
def test_the_deepest_small_network_fits(seed: int, problem: Any) -> None:
    work = problem.load(f"cnn:seed={seed},blocks=64")
    assert work.shape.max() < 2**20 and np.isfinite(float(problem.judge(work, {"design": np.zeros(16, int)}).cost))


def test_drawn_networks_are_valid_and_the_same_again(problem: Any) -> None:
    kinds = set()
    for seed in range(60):
        work = problem.load(f"mixed:seed={seed}")
        kinds |= set(work.kind.tolist())
        assert work.elems.min() > 0 and work.shape.min() > 0 and len(work.kind) >= 4
    assert kinds == set(range(7))
    assert (problem.load("mixed:seed=3").shape == problem.load("mixed:seed=3").shape).all()


def test_a_long_wrong_value_is_shortened(problem: Any) -> None:
    values = {name: int(value) for name, value in zip(NAMES, TPU_V3, strict=False)}
    with pytest.raises(InvalidSolution) as caught:
        problem.named_solution(problem.load("cnns/valid-0"), {**values, "gm": 10**400})
    assert len(str(caught.value)) < 300


def test_a_late_surrogate_answers_with_what_it_found(problem: Any) -> None:
    agent = make_agent("surrogate", hidden=8, networks=1, designs=60)
    agent.fit(problem, [problem.load("cnns/train-0")], np.random.default_rng(0), Budget(steps=30))
    work = problem.load("cnns/valid-0")
    late = problem.judge(work, agent.solve(problem, work, np.random.default_rng(0), Budget(seconds=0.0)))
    lightest = problem.judge(work, {"design": np.zeros(16, int)})
    assert late.feasible and late.cost < lightest.cost / 10
