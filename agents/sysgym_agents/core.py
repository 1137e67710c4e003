"""The contracts of agents and their registry.

An Agent turns an instance, of any size, into a solution. A Learner can also `fit`; its weights are safetensors and
its description is JSON. Agents register with an entry point in the group `sysgym.agents`, named as users call them
(`metis = "sysgym_agents.partitioning.baselines:Metis"`). Hyper-parameters are the keywords of the class, each with a
default. Modules that define agents import torch inside functions only, so that listing agents stays cheap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.core.options import checked, refuse_unknown
from sysgym.core.problem import AnyProblem, Instance, Solution
from sysgym.core.registry import Registry

AGENTS = "sysgym.agents"
agent_registry = Registry(AGENTS)

# Called now and then while fitting with the metrics so far, `steps` and `seconds` among them. False stops the
# fitting; `agent.save` writes the weights as they are at that moment.
Callback = Callable[[dict[str, float]], bool]


class Budget(NamedTuple):
    """What `solve` or `fit` may spend; None is no limit. `steps` counts evaluations, moves or training steps."""

    seconds: float | None = None
    steps: int | None = None


class Clock:
    """Tells when a budget is spent."""

    def __init__(self, budget: Budget) -> None:
        self.budget, self.started = budget, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall seconds since the start."""
        return time.perf_counter() - self.started

    def spent(self, steps: int = 0) -> bool:
        """Whether the seconds or the steps are used up."""
        over_time = self.budget.seconds is not None and self.seconds >= self.budget.seconds
        return over_time or (self.budget.steps is not None and steps >= self.budget.steps)


@runtime_checkable
class Agent(Protocol):
    """Solves instances."""

    problems: tuple[str, ...]  # names of the problems it is for; empty = any
    fit: Callable[..., None] | None  # None: it does not learn

    def solve(self, problem: AnyProblem, instance: Instance, rng: np.random.Generator, budget: Budget) -> Solution: ...


@runtime_checkable
class Learner(Agent, Protocol):
    """An agent that learns from instances before it solves others.

    `save_training(path)` adds the whole state of the training to the folder; it may be called from the callback of
    `fit`, and says whether there is one. After `load_training(path, budget)`, if it returns True, the next `fit` on the
    same instances with that budget takes the very steps that the uninterrupted one would have. A class without them
    has none (`completed`).
    """

    needs_training: bool  # whether it must be fitted before it is of use
    default_instances: str  # set it trains on when the user names none; empty = the problem's own
    default_budget: Budget  # of `fit`

    def fit(
        self,
        problem: AnyProblem,
        instances: Sequence[Instance],
        rng: np.random.Generator,
        budget: Budget,
        callback: Callback | None = None,
    ) -> None: ...

    def save(self, path: Path) -> None: ...  # writes agent.json and model.safetensors into the folder

    def load(self, path: Path) -> None: ...  # the counterpart, on an agent with default hyper-parameters

    def save_training(self, path: Path) -> bool: ...

    def load_training(self, path: Path, budget: Budget) -> bool: ...


class _Defaults:
    """What an agent's class gets where it has no own member."""

    problems: tuple[str, ...] = ()
    fit = None
    needs_training = False
    default_instances = ""
    default_budget = Budget(seconds=60)

    def save_training(self, path: Path) -> bool:
        """There is no state of a training but the weights."""
        return False

    def load_training(self, path: Path, budget: Budget) -> bool:
        """Nothing to go on from but the weights."""
        return False


def completed(factory: Callable[..., Any]) -> Callable[..., Any]:
    """An agent's class with the members that it may leave out."""
    for name in vars(_Defaults):
        if not name.startswith("__") and isinstance(factory, type) and name not in dir(factory):
            setattr(factory, name, vars(_Defaults)[name])
    return factory


def agent_names() -> list[str]:
    """Names of all registered agents; nothing is imported."""
    return agent_registry.names()


def agent_class(name: str) -> Callable[..., Any]:
    """The class behind an agent's name; UsageError with a suggestion if there is none."""
    if name not in agent_registry.names():
        raise unknown("agent", name, agent_registry.names())
    return completed(agent_registry.get(name))


def make_agent(name: str, **hyper: Any) -> Any:
    """Build an agent by name; an unknown hyper-parameter raises UsageError and lists the known ones."""
    factory = agent_class(name)
    refuse_unknown(f"agent {name!r}", factory, hyper)
    return factory(**checked(factory, hyper, f"{{}} of agent {name!r}"))


def is_learner(agent: Any) -> bool:
    """Whether an agent (or its class) can be trained."""
    return agent.fit is not None


def check_fits(name: str, agent: Agent, problem: AnyProblem) -> None:
    """UsageError if an agent is not made for a problem."""
    if agent.problems and problem.name not in agent.problems:
        raise UsageError(
            f"agent {name!r} solves {', '.join(agent.problems)}, not {problem.name}; see `sysgym list agents`."
        )


def register_agent(name: str, factory: Callable[..., Any]) -> None:
    """Register an agent from a program or notebook; a package uses an entry point instead."""
    if name in agent_registry.names():
        raise UsageError(f"agent {name!r} is registered already; choose another name.")
    agent_registry.local[name] = factory
