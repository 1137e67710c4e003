"""The contracts of agents and their registry.

An Agent turns an instance, of any size, into a solution. A Learner can also `fit`; its weights are safetensors and
its description is JSON. Agents register with an entry point in the group `sysgym.agents`, named as users call them
(`metis = "sysgym_agents.partitioning.baselines:Metis"`). Hyper-parameters are the keywords of the class, each with a
default. Modules that define agents import torch inside functions only, so that listing agents stays cheap.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.core.options import checked, refuse_unknown
from sysgym.core.problem import AnyProblem, Instance, Solution
from sysgym.core.registry import Registry
from sysgym.resources import METER, compiled

AGENTS = "sysgym.agents"
agent_registry = Registry(AGENTS)

# Called now and then while fitting with the metrics so far, `steps` and `seconds` among them. False stops the
# fitting; `agent.save` writes the weights as they are at that moment.
Callback = Callable[[dict[str, float]], bool]


class Budget(NamedTuple):
    """What `solve` or `fit` may spend; None is no limit. Whichever is used up first ends it.

    `seconds` are of the wall clock, `cpu_seconds` of all threads of this process. `steps` counts judged candidates:
    answers, or changes of one, whose cost was computed. What that is for an agent, its member `step` says.
    """

    seconds: float | None = None
    steps: int | None = None
    cpu_seconds: float | None = None

    @property
    def timed(self) -> bool:
        """Whether there is a limit of time."""
        return self.seconds is not None or self.cpu_seconds is not None

    def share(self, part: float) -> Budget:
        """A part of the time, without steps.

        >>> Budget(seconds=2.0, steps=7).share(0.5)
        Budget(seconds=1.0, steps=None, cpu_seconds=None)
        """
        wall, cpu = (None if limit is None else part * limit for limit in (self.seconds, self.cpu_seconds))
        return Budget(wall, None, cpu)


class Clock:
    """Tells when a budget is spent. Compiling kernels, or loading compiled ones, counts for nothing."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._compiled, self._wall, self._cpu = compiled(), time.perf_counter(), time.process_time()

    @property
    def seconds(self) -> float:
        """Wall seconds since the start."""
        return time.perf_counter() - self._wall - (compiled().seconds - self._compiled.seconds)

    @property
    def cpu_seconds(self) -> float:
        """Seconds of all threads of this process since the start."""
        return time.process_time() - self._cpu - (compiled().cpu_seconds - self._compiled.cpu_seconds)

    @property
    def share(self) -> float:
        """Share of the time that is used, 0 without a limit and at least 1 when it is up."""
        wall, cpu, most = self.budget.seconds, self.budget.cpu_seconds, 0.0
        if wall is not None:
            most = self.seconds / wall if wall > 0 else 1.0
        if cpu is not None:
            most = max(most, self.cpu_seconds / cpu if cpu > 0 else 1.0)
        return most

    def spent(self, steps: int = 0) -> bool:
        """Whether the time or the steps are used up."""
        return self.share >= 1 or (self.budget.steps is not None and steps >= self.budget.steps)

    def left(self) -> Budget:
        """The budget with the time that remains; its steps are as they were."""
        wall, cpu = self.budget.seconds, self.budget.cpu_seconds
        return Budget(
            None if wall is None else max(wall - self.seconds, 0.0),
            self.budget.steps,
            None if cpu is None else max(cpu - self.cpu_seconds, 0.0),
        )


@contextmanager
def uncounted() -> Iterator[None]:
    """Time within counts for no clock that runs already, just as compiling does not."""
    METER.start()
    try:
        yield
    finally:
        METER.end()


@runtime_checkable
class Agent(Protocol):
    """Solves instances."""

    problems: tuple[str, ...]  # names of the problems it is for; empty = any
    fit: Callable[..., None] | None  # None: it does not learn
    step: str  # what a step of a budget is; empty: it makes one answer and counts none
    indivisible: str  # the longest that is not interrupted when a budget is spent
    fallback: str  # what it answers where all that it found is infeasible; empty: what it found
    fell_back: bool  # whether the last answer of `solve` was that
    admissible: bool  # False: a bound, which looks at what others are to find out, and may not compete

    def prepare(self) -> None: ...  # import what solving takes; no budget counts it

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

    @property
    def bound(self) -> tuple[str, ...]: ...  # hyper-parameters that trained weights mean nothing without

    def fit(
        self,
        problem: AnyProblem,
        instances: Sequence[Instance],
        rng: np.random.Generator,
        budget: Budget,
        callback: Callback | None = None,
    ) -> None: ...

    def save(self, path: Path) -> None: ...  # writes agent.json and model.safetensors into the folder

    def forget(self, rng: np.random.Generator) -> bool: ...  # draw the weights anew; False if it cannot

    def load(self, path: Path) -> None: ...  # the counterpart, on an agent with default hyper-parameters

    def save_training(self, path: Path) -> bool: ...

    def load_training(self, path: Path, budget: Budget) -> bool: ...


class _Defaults:
    """What an agent's class gets where it has no own member."""

    problems: tuple[str, ...] = ()
    fit = None
    step = ""
    indivisible = "the whole answer"
    fallback = ""
    fell_back = False
    admissible = True
    needs_training = False
    default_instances = ""
    default_budget = Budget(seconds=60)
    bound: tuple[str, ...] = ()

    def prepare(self) -> None:
        """Import what kernels need."""
        import sysgym.compiled  # noqa: F401

    def forget(self, rng: np.random.Generator) -> bool:
        """It has no weights to draw anew."""
        return False

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


def make_agent(name: str, /, **hyper: Any) -> Any:
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
