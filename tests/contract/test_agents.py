"""What every registered agent must do; every learner on every problem that it is for."""

from __future__ import annotations

import inspect
import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import (
    AGENTS,
    LEARNERS,
    UNFIT,
    first_instance,
    learner_table,
    over_learners,
    over_problems,
    small,
    solved_by,
)  # fmt: skip

import sysgym
from sysgym.core.options import Choices, Search, keyword_options, option_table
from sysgym.core.registry import make_problem, problem_class, with_options
from sysgym_agents.core import Agent, Budget, Learner, agent_class, agent_names, check_fits, is_learner, make_agent
from sysgym_zoo.tracking.vocabulary import AXES, VOCABULARY, name_of

STEPS = 24


def fitted(name: str, problem_id: str) -> tuple[Any, Any, Any]:
    """A learner after a moment of training, the problem in the first mode that it can act in, and an instance.

    What it reports has a name in the vocabulary of all learners.
    """
    heard: list[dict[str, float]] = []
    refusal = "it has no mode"
    for variant in problem_class(problem_id).variants:
        agent, problem = small(name), make_problem(problem_id, **variant)
        instance = problem.load(first_instance(problem))
        try:
            agent.fit(
                problem,
                [instance],
                np.random.default_rng(0),
                Budget(steps=STEPS),
                lambda row: heard.append(row) is None,
            )
            assert heard and all({"steps", "seconds"} <= set(row) for row in heard)
            assert {name_of(word) for row in heard for word in row} <= {*VOCABULARY, *AXES}
            return agent, problem, instance
        except sysgym.UsageError as error:
            refusal = str(error)
            if not any(words in refusal for words in UNFIT):
                raise
    pytest.skip(f"no mode of it fits {name}: {refusal}")


def same(one: Any, two: Any) -> bool:
    return set(one) == set(two) and all(np.array_equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_is_built_from_data_and_documented(name: str) -> None:
    factory: Any = agent_class(name)
    agent = make_agent(name)
    assert isinstance(agent, Learner if is_learner(agent) else Agent)
    defaults = {key: parameter.default for key, parameter in keyword_options(factory).items()}
    assert inspect.Parameter.empty not in defaults.values()
    assert json.loads(json.dumps(defaults)) == defaults  # recipes and run.json hold them
    make_agent(name, **defaults)
    with pytest.raises(sysgym.UsageError, match="unknown option"):
        make_agent(name, colour="red")
    assert len((inspect.getdoc(factory) or "").strip()) > 20
    known = {problem_class(item).name for item in sysgym.problem_ids()}
    assert set(agent.problems) <= known and solved_by(agent)


@pytest.mark.parametrize("name", AGENTS)
def test_hyper_parameters_of_a_wrong_kind_are_refused(name: str) -> None:
    for option, row in option_table(agent_class(name)).items():
        assert row.kinds or row.choices, f"{option} says nothing of what it may be"
        for value in (object(), [1], float("nan")):
            if isinstance(value, float) and float in row.kinds and row.range is None:
                continue  # a number without a range is the agent's own to check
            with pytest.raises(sysgym.UsageError, match=option):
                make_agent(name, **{option: value})


@pytest.mark.parametrize("name", list(dict.fromkeys(agent for agent, _ in LEARNERS)))
def test_learners_say_where_a_tuner_looks(name: str) -> None:
    """In the range of the option, in its kind, and not at one place only; the default may be tried too."""
    table = option_table(agent_class(name))
    tuned = {key: option for key, option in table.items() if option.search is not None}
    assert len(tuned) >= 2, f"{name} declares {list(tuned)}"
    for key, option in tuned.items():
        search: Any = option.search
        ends = search.values if isinstance(search, Choices) else (search.low, search.high)
        assert len(set(ends)) == len(ends) >= 2 and all(option.fits(value) for value in (*ends, option.default)), key
        assert all(option.check(value, key) == value for value in ends) and option.default is not None
        if isinstance(search, Search):
            assert search.low < search.high and (search.low > 0 or not search.log), key
            assert {type(end) for end in ends} <= ({int, float} if float in option.kinds else {int}), key


@pytest.mark.parametrize("name", over_problems())
def test_every_problem_has_its_agents(name: str) -> None:
    factory: Any = problem_class(name)
    agent = make_agent(factory.recommended_agent)
    check_fits(factory.recommended_agent, agent, factory)
    variant = next(iter(factory.variants))
    problem = with_options(make_problem(name, **variant), **getattr(agent, "options", {}))
    instance = problem.load(first_instance(problem))
    solution = agent.solve(problem, instance, np.random.default_rng(0), Budget(seconds=0.3))
    assert problem.judge(instance, solution).feasible
    assert any(is_learner(agent_class(item)) for item in agent_names() if name in solved_by(agent_class(item)))


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.path, "it ran"))


def traps(path: Path) -> Iterator[bytes]:
    """A pickle as it is, and as torch would save it."""
    import io

    import torch

    yield pickle.dumps(Trap(path))
    stream = io.BytesIO()
    torch.save({"weights": Trap(path)}, stream)
    yield stream.getvalue()


def refuses(load: Callable[[Path], None], folder: Path) -> None:
    with pytest.raises(sysgym.UsageError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_the_table_has_every_learner_and_every_problem_twice() -> None:
    """Twice, or as often as there is anything to pair with."""
    for place in (0, 1):
        for item in {pair[place] for pair in LEARNERS}:
            most = sum(pair[place] == item for pair in LEARNERS)
            assert sum(pair[place] == item for pair in learner_table()) >= min(2, most), item


@pytest.mark.parametrize(("agent", "name"), over_learners())
def test_learners_keep_their_weights_as_data(agent: str, name: str, tmp_path: Path) -> None:
    """`save` writes two files, `load` needs nothing else and reads no pickle."""
    learner, problem, instance = fitted(agent, name)
    saved, elsewhere, marker = tmp_path / "saved", tmp_path / "elsewhere", tmp_path / "marker"
    learner.save(saved)
    assert sorted(path.name for path in saved.iterdir()) == ["agent.json", "model.safetensors"]
    json.loads((saved / "agent.json").read_text())
    elsewhere.mkdir()
    for path in saved.iterdir():
        shutil.move(path, elsewhere / path.name)
    again = make_agent(agent)
    again.load(elsewhere)
    ours, theirs = (a.solve(problem, instance, np.random.default_rng(1), Budget(steps=6)) for a in (learner, again))
    assert same(ours, theirs)
    problem.judge(instance, ours)
    again.save(saved)
    for path in elsewhere.iterdir():
        assert (saved / path.name).read_bytes() == path.read_bytes()
    for trap in traps(marker):
        for file in ("model.safetensors", "agent.json"):
            kept = (elsewhere / file).read_bytes()
            (elsewhere / file).write_bytes(trap)
            refuses(make_agent(agent).load, elsewhere)
            (elsewhere / file).write_bytes(kept)
    refuses(make_agent(agent).load, tmp_path / "nowhere")
    assert not marker.exists()
    pickle.loads(next(traps(marker)))
    assert marker.exists()  # the trap works
