"""A problem of eight methods: what `sysgym.complete` fills in, and that everything plays it."""

from __future__ import annotations

import importlib.util
import pickle
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from countdown import Nothing, Plain
from gymnasium.utils.env_checker import check_env

import sysgym
from sysgym import (
    ArraySpec,
    InvalidSolution,
    Size,
    UsageError,
    Verdict,
    complete,
    make_problem,
    register_problem,
)
from sysgym.core.defaults import EIGHT
from sysgym.core.env import ProblemEnv
from sysgym.core.problem import Dynamics, Problem, members
from sysgym.core.registry import problem_registry
from sysgym.core.vector import ProblemVectorEnv
from sysgym_agents import Budget, make_agent

FILE = Path(__file__).parents[1] / "plugin" / "sysgym_knapsack" / "sack.py"


def tutorial() -> Any:
    """The module of the tutorial."""
    spec = importlib.util.spec_from_file_location("sack_tutorial", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


Sack = tutorial().Sack


@pytest.fixture
def sack() -> Iterator[str]:
    register_problem("Sack-v0", Sack)
    yield "sysgym/Sack-v0"
    del problem_registry.local["Sack-v0"], gym.registry["sysgym/Sack-v0"]


def test_a_problem_in_one_file_plays_single_and_batched(sack: str) -> None:
    env = gym.make(sack, instance="seed:5")
    vector = gym.make_vec(sack, num_envs=3, vectorization_mode="vector_entry_point", instance="seed:5")
    observation, _ = env.reset(seed=0)
    many, _ = vector.reset(seed=0)
    over, total = False, 0.0
    while not over:
        assert all(np.array_equal(many[key][1], observation[key]) for key in observation)
        action = int(np.flatnonzero(env.unwrapped.action_masks())[0])
        observation, reward, over, _, info = env.step(action)
        many, rewards, terminated, _, _ = vector.step(np.full(3, action))
        assert rewards.tolist() == [reward] * 3 and terminated.all() == over
        total += reward
    # always the first legal action: the reference, which is the scale of rewards
    assert info["verdict"]["feasible"] and total == pytest.approx(1.0)
    assert env.unwrapped.problem.reference_costs(env.unwrapped.instance) == {"first": info["verdict"]["cost"]}
    with pytest.raises(UsageError, match="'Sack-v0' is registered already"):
        register_problem("Sack-v0", Sack)
    with pytest.raises(UsageError, match="is no environment id"):
        register_problem("Sack", Sack)


@pytest.mark.parametrize("agent", ["maskable-ppo", "dqn", "random"])
def test_general_agents_play_a_stranger(sack: str, agent: str) -> None:
    problem = make_problem("Sack")
    hyper = {"maskable-ppo": {"n_steps": 32, "num_envs": 2, "hidden": 8}, "dqn": {"hidden": 8}}.get(agent, {})
    made = make_agent(agent, **hyper)
    if hyper:
        made.fit(problem, [problem.load("seed:3")], np.random.default_rng(0), Budget(steps=64))
    answer = made.solve(problem, problem.load("seed:4"), np.random.default_rng(0), Budget())
    assert problem.judge(problem.load("seed:4"), answer).feasible


def test_the_tutorial_is_short() -> None:
    import ast

    tree = ast.parse(FILE.read_text())
    told: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            told |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    code = [line for number, line in enumerate(FILE.read_text().splitlines(), 1) if line.strip() and number not in told]
    assert 20 < len(code) <= 45


def test_everything_else_follows() -> None:
    problem = Sack(items=6)
    assert all(hasattr(problem, name) for name in members(Problem) | members(Dynamics))
    assert (problem.name, problem.version, problem.variants, problem.dynamics) == ("Sack", 0, ({},), problem)
    assert problem.frames is None and problem.timeline is None and problem.parse_solution is None
    group = problem.instance_sets()["generated"]
    assert [len(group.names(split)) for split in ("train", "valid", "test")] == [8, 4, 8]
    for entry in group.entries[:3]:
        assert sysgym.content_hash(problem.load(entry.name)) == entry.hash
        assert problem.size(problem.load(entry.name)) == Size(6, 0)
    items = problem.load("generated/test-0")
    best = min(
        problem.judge(items, {"packed": np.array(packed)}).cost
        for packed in product((0, 1), repeat=6)
        if problem.judge(items, {"packed": np.array(packed)}).feasible
    )
    assert best <= problem.reference_costs(items)["first"] < 0
    picture = problem.render(items, {"packed": np.ones(6, int)})
    assert picture.ndim == 3 and picture.dtype == np.uint8 and len(np.unique(picture)) > 1
    assert "INFEASIBLE" in problem.describe(items, {"packed": np.ones(6, int)})
    with pytest.raises(UsageError, match=r"unknown instance 'generated/trian-0'\. Did you mean 'generated/train-0'"):
        problem.load("generated/trian-0")
    with pytest.raises(InvalidSolution, match="expected 0 to 1"):
        problem.judge(items, {"packed": np.full(6, 2)})
    again = pickle.loads(pickle.dumps(problem))
    assert again.items == 6 and again.reference_costs(items) == problem.reference_costs(items)


def test_states_are_shown_copied_and_end() -> None:
    env = ProblemEnv(Sack(items=5))
    observation, _ = env.reset(seed=1)
    assert np.array_equal(observation["nodes"][:, 2], observation["action_mask"])
    saved = env.get_state()
    env.step(int(env.action_masks().argmax()))
    assert saved["state"].sum() == 0 and env.state.sum() == 1
    assert 0 < env.dynamics.globals(env.instance, env.state)[-1] <= 1
    chosen = env.state.copy()
    restarted, _ = env.reset(options={"instance": env.instance, "solution": {"packed": chosen}})
    assert np.array_equal(env.state, chosen) and env.state is not chosen
    assert np.array_equal(restarted["action_mask"], env.action_masks())


def test_a_state_without_a_legal_action_ends_the_episode() -> None:
    env = ProblemEnv(Sack(items=5))
    full = np.ones(5, np.int64)
    env.reset(seed=0, options={"solution": {"packed": full}})
    assert env.action_masks().tolist() == [True, False, False, False, False]
    _, _, over, _, info = env.step(0)
    assert over and info["judged"] and not info["verdict"]["feasible"]
    assert env.solution()["packed"].tolist() == full.tolist()


# ---------------------------------------------------------------------------------- nothing but the least


@complete
class Bare(Plain):
    """Nothing more."""


@complete
class Wide(Plain):
    """As many choices as nodes."""

    choice_names = ("strides",)

    def size(self, instance: Nothing) -> Size:
        return Size(instance.count, 0, (instance.count,))


@pytest.mark.parametrize("form", ["full", "dynamic", "raw"])
def test_keys_of_width_0_are_left_out(form: str) -> None:
    env = ProblemEnv(Bare(), obs=form)
    check_env(env, skip_render_check=True)
    keys = {"full": {"node_mask", "edge_index", "edge_mask", "action_mask"}, "dynamic": {"action_mask", "graph_id"}}
    assert set(env.observation_space) == {"globals", "focus", *keys.get(form, ())}


@pytest.mark.parametrize("agent", ["ppo", "maskable-ppo", "recurrent-ppo", "dqn", "qrdqn", "a2c", "trpo"])
def test_learners_play_without_any_feature(agent: str) -> None:
    problem = Bare()
    small = {"hidden": 8, "learning_starts": 8} if "dqn" in agent else {"hidden": 8, "n_steps": 8, "num_envs": 2}
    made = make_agent(agent, **small, **({"batch_size": 8} if agent not in ("a2c", "dqn", "qrdqn") else {}))
    made.fit(problem, [problem.load("generated/train-0")], np.random.default_rng(0), Budget(steps=16))
    instance = problem.load("generated/test-1")
    assert problem.judge(instance, made.solve(problem, instance, np.random.default_rng(0), Budget())).feasible


@complete
class Told(Plain):
    """The count as a vector that is no node's."""

    state_features = ("left", "taken")

    def state_vector(self, instance: Nothing, state: list[int]) -> Any:
        return np.array([instance.count - sum(state), sum(state)], np.float32)


@pytest.mark.parametrize("form", ["full", "dynamic"])
def test_a_state_is_shown_as_a_vector(form: str) -> None:
    """Single, in a vector, and to the network: what it holds decides what an agent without other features learns."""
    env = ProblemEnv(Told(), instance=Nothing(6, "six"), obs=form)
    check_env(env, skip_render_check=True)
    vector = ProblemVectorEnv(2, Told(), instance=Nothing(6, "six"), obs=form)
    one, many = env.reset(seed=0)[0], vector.reset(seed=0)[0]
    assert one["state"].tolist() == [6, 0] and np.array_equal(many["state"], [one["state"]] * 2)
    one, many = env.step(1)[0], vector.step(np.array([1, 2]))[0]
    assert one["state"].tolist() == [4, 2] and many["state"].tolist() == [[4, 2], [3, 3]]
    agent = make_agent("maskable-ppo", hidden=8, n_steps=8, num_envs=1, batch_size=8)
    agent.fit(Told(), [Nothing(6, "six")], np.random.default_rng(0), Budget(steps=8))
    widths = {name: tuple(value.shape) for name, value in agent.weights().items()}
    assert widths["net.context.0.weight"][1] == 1 + 2 + 2 * 8  # globals, state, mean and focused node


def test_answers_of_varying_length() -> None:
    problem, instance = Bare(), Nothing(4, "four")
    assert problem.judge(instance, {"steps": [3, 1]}).cost == 2
    assert not problem.judge(instance, {"steps": []}).feasible
    with pytest.raises(InvalidSolution, match=r"has shape \(5,\), expected \(4,\) or shorter"):
        problem.judge(instance, {"steps": [1, 1, 1, 1, 1]})


def test_an_instance_with_more_choices_is_named() -> None:
    env = ProblemEnv(Wide(), instance=Nothing(4, "four"), max_nodes=9)
    with pytest.raises(UsageError, match="'five' has 5 strides, this environment is padded to 4; name"):
        env.reset(options={"instance": Nothing(5, "five")})


def test_what_is_missing_is_named() -> None:
    class Half:
        def judge(self, instance: Any, solution: Any) -> Verdict:
            return Verdict(True, 0.0)

    with pytest.raises(TypeError, match="problem Half lacks generate, static, solution_arrays, start, allowed, step"):
        complete(Half)

    class Nameless(Plain):
        def nodes(self, instance: Nothing, state: list[int]) -> Any:
            return np.zeros((instance.count, 1), np.float32)

    with pytest.raises(TypeError, match="Nameless has nodes, but no node_features that name what it shows"):
        complete(Nameless)

    class Twice(Plain):
        recommended_agent: str = "random"

    with pytest.raises(TypeError, match="recommended_agent is part of the contract, no option: leave out its annot"):
        complete(Twice)


@pytest.mark.parametrize(
    ("method", "result", "sentence"),
    [
        ("allowed", np.array([0, 2]), r"`allowed` of Broken must return a bool for each action, .*got int64 of shape"),
        ("allowed", np.ones(9, bool), r"array of up to \(3,\), got bool of shape \(9,\)"),
        ("allowed", [True], r"got \[True\]"),
        ("static", {}, r"`static` of Broken: it must return a dict of nodes"),
        ("static", [1], r"`static` of Broken: it must return a dict of nodes"),
        ("static", {"nodes": np.zeros((4, 1)), "edge_idx": 0}, r"it must return a dict of nodes"),
        (
            "static",
            {"nodes": np.zeros(4)},
            r"nodes must be numbers of shape \(count, features\), got float64 of shape \(4,\)",
        ),
        ("static", {"nodes": np.array([["a"]])}, r"nodes must be numbers"),
        ("static", {"nodes": np.full((4, 1), np.nan)}, r"nodes must be finite"),
        (
            "static",
            {"nodes": np.zeros((4, 1)), "edges": np.zeros((2, 1))},
            r"of shape \(2, 2\), as many as edges, got int32",
        ),
        ("static", {"nodes": np.zeros((4, 1)), "edge_index": np.array([[0], [4]])}, r"from 0 to 3, got 0 to 4"),
        ("static", {"nodes": np.zeros((4, 1)), "edge_index": np.array([[0], [0.5]])}, r"must be whole numbers"),
        ("judge", None, r"`judge` of Broken must return a Verdict, got None"),
        ("judge", Verdict(True, float("nan")), r"must give a feasible solution a finite cost, got nan"),
        ("judge", Verdict(True, np.inf), r"must give a feasible solution a finite cost, got inf"),
        ("judge", Verdict(False, 1.0, violations="bad"), r"must give violations as a tuple of sentences, got 'bad'"),  # type: ignore[arg-type]
    ],
)
def test_what_a_method_returns_is_checked(method: str, result: Any, sentence: str) -> None:
    Broken = complete(type("Broken", (Plain,), {method: lambda *_: result}))
    with pytest.raises(TypeError, match=sentence):
        env = ProblemEnv(Broken(), instance=Nothing(4, "four"))
        env.reset(seed=0)


def test_instances_follow_from_their_seed_alone() -> None:
    drawn = iter(range(4, 100))
    Moody = complete(type("Moody", (Plain,), {"generate": lambda self, rng: Nothing(next(drawn))}))
    with pytest.raises(TypeError, match="`generate` of Moody makes another instance of the same seed"):
        Moody().instance_sets()


def test_an_option_is_no_keyword_of_environments() -> None:
    with pytest.raises(TypeError, match="the option obs of Seeing is a keyword of environments"):
        complete(type("Seeing", (Plain,), {"__annotations__": {"obs": "int"}, "obs": 3}))
    with pytest.raises(TypeError, match="problem Half lacks judge"):
        complete(type("Half", (), {name: lambda *_: None for name in EIGHT if name != "judge"}))


def test_a_problem_made_from_another_keeps_its_checks() -> None:
    @complete
    class Pair(Plain):
        low: int = 1
        high: int = 2

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise UsageError("low must not be above high.")

    @complete
    class Triple(Pair):
        state_features = ("left",)
        more: int = 0

        def state_vector(self, instance: Nothing, state: list[int]) -> Any:
            return np.array([instance.count - sum(state)], np.float32)

    with pytest.raises(UsageError, match="low must not be above high"):
        Triple(low=3)
    with pytest.raises(UsageError, match="option more must be a whole number"):
        Triple(more="1")  # type: ignore[arg-type]
    assert (Triple.name, Triple().more) == ("Triple", 0)
    with pytest.raises(InvalidSolution):
        Triple().judge(Nothing(4), {"steps": [9]})
    check_env(ProblemEnv(Triple()), skip_render_check=True)


def test_an_answer_that_is_none_yet_is_not_judged() -> None:
    @complete
    class Fixed(Plain):
        def solution_arrays(self, instance: Nothing) -> dict[str, ArraySpec]:
            return {"total": ArraySpec((1,), "int", instance.count, instance.count, "whole only")}

        def solution(self, instance: Nothing, state: list[int]) -> dict[str, Any]:
            return {"total": np.array([sum(state)])}

        def judge(self, instance: Nothing, solution: Any) -> Verdict:
            return Verdict(True, float(solution["total"][0]), {"total": 1.0})

    env = ProblemEnv(Fixed(), instance=Nothing(4, "four"))
    _, info = env.reset(seed=0)
    assert set(info["verdict"]["metrics"]) == {"total"} and not info["judged"]
    *_, info = env.step(0)
    assert not info["judged"]
    _, _, over, _, info = env.step(2)
    assert over and info["judged"] and info["verdict"]["cost"] == 4
