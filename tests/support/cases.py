"""What the contract tests run over: every registered problem, mode and learner, those of the plugin here among them."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest

import sysgym
from sysgym.core.instances import expand
from sysgym.core.observation import FORMS
from sysgym.core.options import keyword_options
from sysgym.core.registry import problem_class, problem_registry, register_problem
from sysgym_agents.core import agent_class, agent_names, agent_registry, is_learner, make_agent, register_agent
from sysgym_agents.general.random import sample_action
from sysgym_zoo.tracking.writers import tracker_registry

PLUGIN = Path(__file__).parents[1] / "plugin"  # on the path by `pythonpath` in pyproject.toml


@contextmanager
def plugin_registered() -> Iterator[None]:
    """Problems and agents of the plugin beside the built-in ones, as if it were installed."""
    declared = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]
    groups = (
        (declared["sysgym.problems"], problem_registry, register_problem),
        (declared["sysgym.agents"], agent_registry, register_agent),
        (declared["sysgym.trackers"], tracker_registry, tracker_registry.local.__setitem__),
    )
    added = []
    for entries, registry, register in groups:
        for name, place in entries.items():
            if name not in registry.names():  # else the plugin is installed
                module, _, item = place.partition(":")
                register(name, getattr(import_module(module), item))
                added.append((registry, name))
    try:
        yield
    finally:
        for registry, name in added:
            registry.local.pop(name, None)  # or a test forgot it
            gym.registry.pop(f"sysgym/{name}", None)


class Case(NamedTuple):
    """A problem in one of its variants, so in one action mode."""

    name: str  # environment id
    variant: dict[str, Any]
    number: int  # among the variants of the problem
    instances: str = ""  # of another kind than those that the problem plays by default

    def _with(self, keywords: dict[str, Any]) -> dict[str, Any]:
        own = {"instances": self.instances} if self.instances and not {"instance", "instances"} & set(keywords) else {}
        return {**self.variant, **own, **keywords}

    def make(self, **keywords: Any) -> gym.Env:
        return gym.make(self.name, **self._with(keywords))

    def make_vec(self, count: int, **keywords: Any) -> Any:
        options = self._with(keywords)
        return gym.make_vec(self.name, num_envs=count, vectorization_mode="vector_entry_point", **options).unwrapped

    def __str__(self) -> str:
        kind = [self.instances.split("/")[0]] if self.instances else []
        return f"{self.name.split('/')[1]}-{'-'.join(map(str, [*self.variant.values(), *kind]))}"


KINDS = {"sysgym/Partitioning-v0": "netlists/train"}  # problems whose instances are of two kinds
FIRST_KIND = {"multilevel"}  # modes that refuse the second one


def find_cases() -> list[Case]:
    """Every variant of every registered problem, with each kind of its instances."""
    return [
        Case(name, dict(variant), number, kind)
        for name in sysgym.problem_ids()
        for kind in ("", *([KINDS[name]] if name in KINDS else []))
        for number, variant in enumerate(problem_class(name).variants)
        if not (kind and variant.get("mode") in FIRST_KIND)
    ]


def find_learners() -> list[tuple[str, str]]:
    """Every learner with every problem that it is for."""
    names = [agent for agent in agent_names() if is_learner(agent_class(agent))]
    return [(agent, name) for agent in names for name in solved_by(agent_class(agent))]


def solved_by(agent: Any) -> list[str]:
    """Ids of the registered problems that an agent (or its class) is for."""
    return [name for name in sysgym.problem_ids() if not agent.problems or problem_class(name).name in agent.problems]


def check_found(cases: list[Case], learners: list[tuple[str, str]], boards: list[str]) -> None:
    """There is something to test: called on what the contract tests run over, and on emptied registries."""
    assert cases and {case.name for case in cases} == {*sysgym.problem_ids()}, "no problem is registered"
    assert learners, "no learner is registered"
    assert boards, "there is no board"


with plugin_registered():
    CASES, LEARNERS, PROBLEMS, AGENTS = find_cases(), find_learners(), sysgym.problem_ids(), agent_names()

# ------------------------------------------------------------------------------------------------ tables of pairs


FAMILIES = {"device_placement": "dataflow", "graph_optimization": "dataflow"}  # where the folder's name is another


def _grouped(name: str, *marks: Any) -> list[Any]:
    """Tests of one family run in one process, with those of its folder: its kernels are compiled once."""
    package = problem_class(name).__module__.split(".")[1]
    return [pytest.mark.xdist_group(FAMILIES.get(package, package)), *marks]


def over_cases() -> list[Any]:
    """Parameters for `case`."""
    with plugin_registered():
        return [pytest.param(case, id=str(case), marks=_grouped(case.name)) for case in CASES]


def over_problems() -> list[Any]:
    """Parameters for `name`, an environment id."""
    with plugin_registered():
        return [pytest.param(name, id=name.split("/")[1], marks=_grouped(name)) for name in PROBLEMS]


def over_agents() -> list[Any]:
    """Parameters for `name`, an agent; it is with the first problem that it is for, on which it is tried first."""
    with plugin_registered():
        return [pytest.param(name, id=name, marks=_grouped(solved_by(agent_class(name))[0])) for name in AGENTS]


def over_table(options: list[tuple[Any, ...]], each: int, turns: bool = True) -> list[Any]:
    """Parameters for `case` and the options: the whole product, of which `pytest` runs `each` options a case.

    Which ones turns from case to case, so that a problem with several modes sees all of them; or always the first.
    """
    found = []
    with plugin_registered():
        for case in CASES:
            step = -(-len(options) // each)
            chosen = {(case.number * turns + k * step) % len(options) for k in range(each)}
            for index, values in enumerate(options):
                marks = _grouped(case.name, *([] if index in chosen else [pytest.mark.full]))
                found.append(pytest.param(case, *values, id="-".join(map(str, (case, *values))), marks=marks))
    return found


def turning(problem: str, rows: Iterable[str], columns: Iterable[str], each: int) -> list[Any]:
    """Parameters for pairs of names: the product of rows and columns, of which `pytest` runs `each` columns a row.

    `problem` is in their ids, so that the whole product runs where the problem was touched.
    """
    names, found = [*columns], []
    for number, row in enumerate(rows):
        chosen = {(number * each + k) % len(names) for k in range(each)}
        for place, column in enumerate(names):
            marks = [] if place in chosen else [pytest.mark.full]
            found.append(pytest.param(row, column, id=f"{row}-{column}-{problem}", marks=marks))
    return found


FORMS_AND_RESETS = [(form, autoreset) for autoreset in ("NextStep", "SameStep") for form in FORMS]


def learner_table() -> set[tuple[str, str]]:
    """The pairs that `pytest` runs: every learner on two of its problems, so every problem by two learners at least."""
    found = set()
    for turn, agent in enumerate(dict.fromkeys(agent for agent, _ in LEARNERS)):
        problems = [name for other, name in LEARNERS if other == agent]
        found |= {(agent, problems[(2 * turn + k) % len(problems)]) for k in (0, 1)}
    for problem in dict.fromkeys(name for _, name in LEARNERS):
        pairs = [pair for pair in LEARNERS if pair[1] == problem]
        lacking = max(0, 2 - len(found & set(pairs)))
        found |= set([pair for pair in pairs if pair not in found][:lacking])
    return found


def over_learners() -> list[Any]:
    """Parameters for `agent` and `name`: the whole product, the table in every run."""
    table = learner_table()
    with plugin_registered():
        return [
            pytest.param(
                agent, name, id=f"{agent}-{name.split('/')[1]}",
                marks=_grouped(name, *([] if (agent, name) in table else [pytest.mark.full])),
            )
            for agent, name in LEARNERS
        ]  # fmt: skip


# ------------------------------------------------------------------------------------------------ one recorded play


class Step(NamedTuple):
    """A step of a recorded play."""

    mask: Any  # before it
    action: Any
    seen: tuple[Any, ...]  # observation, reward, terminated, truncated, info
    restarted: tuple[Any, Any] | None  # what `reset` gave after an end


class End(NamedTuple):
    """What holds at the end of an episode."""

    start: float  # cost of the first state
    scale: float
    cost: float  # of the last state
    solution: dict[str, Any]
    instance: Any
    total: float  # return


class Record(NamedTuple):
    """A play of masked random actions: at least so many steps, and so many whole episodes."""

    seed: int
    first: tuple[Any, Any]  # what `reset` gave
    steps: list[Step]
    ends: list[End]

    def digest(self) -> str:
        return digest([self.first, self.steps])


def record(env: gym.Env, seed: int, steps: int = 60, episodes: int = 3) -> Record:
    """Play an environment and keep everything."""
    rng, inner = np.random.default_rng(seed), env.unwrapped
    made = Record(seed, env.reset(seed=seed), [], [])

    def opening() -> tuple[float, float]:
        return inner.dynamics.cost(inner.instance, inner.state), inner.dynamics.scale(inner.instance, inner.state)

    start, total = opening(), 0.0
    while len(made.steps) < steps or len(made.ends) < episodes:
        mask = inner.action_masks().copy()
        action = sample_action(rng, env.action_space, mask)
        seen = env.step(action)
        total += seen[1]
        restarted = None
        if seen[2]:
            cost = inner.dynamics.cost(inner.instance, inner.state)
            made.ends.append(End(*start, cost, inner.solution(), inner.instance, total))
            restarted = env.reset()
            start, total = opening(), 0.0
        made.steps.append(Step(mask, action, seen, restarted))
    return made


def replay(env: gym.Env, made: Record, steps: int | None = None) -> Iterator[Any]:
    """Play the actions of a record from its seed on; what `reset` and `step` give, one after the other."""
    yield env.reset(seed=made.seed)
    for step in made.steps[:steps]:
        yield env.step(step.action)
        if step.restarted:
            yield env.reset()


def told(made: Record, steps: int | None = None) -> Iterator[Any]:
    """What `replay` must give."""
    yield made.first
    for step in made.steps[:steps]:
        yield step.seen
        if step.restarted:
            yield step.restarted


def digest(value: Any) -> str:
    """Hash of nested observations: bits, shapes and types."""
    parts: list[bytes] = []

    def feed(item: Any) -> None:
        if isinstance(item, np.ndarray) and item.dtype.kind != "O":
            parts.append(f"{item.dtype.str}{item.shape}".encode())
            parts.append(item.tobytes())
        elif isinstance(item, dict):
            for key in sorted(item):
                parts.append(key.encode())
                feed(item[key])
        elif isinstance(item, list | tuple | np.ndarray):
            for part in item:
                feed(part)
        else:
            parts.append(repr(item).encode())

    feed(value)
    return hashlib.sha256(b"".join(parts)).hexdigest()


# ------------------------------------------------------------------------------------------------ agents, small

TINY = {  # of the hyper-parameters that an agent has, so that a fit takes a moment
    "n_steps": 8, "num_envs": 1, "batch_size": 8, "n_epochs": 1, "hidden": 8, "learning_starts": 8, "buffer_size": 64,
    "trials": 1, "pairs": 1, "members": 2, "updates": 20, "generated": 0,
}  # fmt: skip
UNFIT = ("cannot act in", "needs node embeddings")  # such as DQN where an action has many choices


def small(name: str) -> Any:
    known = keyword_options(agent_class(name))
    return make_agent(name, **{key: value for key, value in TINY.items() if key in known})


def first_instance(problem: Any) -> str:
    return expand(problem.instance_sets(), problem.default_instances)[0]
