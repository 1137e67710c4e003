"""Every agent keeps every kind of budget, says what a step of it is, and what it does not interrupt.

Time is told by a clock of the test's own, a second a look: what counts is how often an agent still looks at it after
the time is up, not how fast the machine is.
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cases import UNFIT, first_instance, over_agents, small, solved_by

import sysgym
from sysgym.core.registry import make_problem, problem_class, with_options
from sysgym_agents import core
from sysgym_agents.core import Budget, Clock, agent_class, is_learner

LOOKS = 20  # within the budget
AFTER = 60  # looks that an agent may take once the time is up, in the loops that it leaves
CPU = 20.0  # seconds of an answer that is cut short; without its budget the longest take minutes


class Ticking:
    """A clock that goes on by a second whenever somebody looks."""

    def __init__(self, wall: bool) -> None:
        self.now, self.wall = 0.0, wall

    def look(self) -> float:
        self.now += 1.0
        return self.now

    def module(self) -> Any:
        """What stands for the module `time`: one of its clocks ticks, the other stands still."""
        return SimpleNamespace(
            perf_counter=self.look if self.wall else lambda: 0.0, process_time=(lambda: 0.0) if self.wall else self.look
        )


def played(name: str, act: Any) -> None:
    """Let `act` have an agent, a problem and an instance, in the first problem and mode that the agent acts in."""
    pytest.importorskip("pymetis" if "metis" in name else name if name in ("kahip", "mtkahypar") else "numpy")
    identifiers = solved_by(agent_class(name))
    for identifier, variant in ((one, variant) for one in identifiers for variant in problem_class(one).variants):
        agent = small(name)
        problem = with_options(make_problem(identifier, **variant), **getattr(agent, "options", {}))
        try:
            act(agent, problem, problem.load(first_instance(problem)))
            return
        except sysgym.UsageError as error:
            if not any(words in str(error) for words in (*UNFIT, "lists no gain")):
                raise
    pytest.fail(f"no mode of {', '.join(identifiers)} fits {name}")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("kind", ["seconds", "cpu_seconds"])
@pytest.mark.parametrize("name", over_agents())
def test_time_is_kept(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def act(agent: Any, problem: Any, instance: Any) -> None:
        for limit in (0.0, float(LOOKS)):
            clock = Ticking(kind == "seconds")
            with monkeypatch.context() as patch:
                patch.setattr(core, "time", clock.module())
                solution = agent.solve(problem, instance, rng(), Budget(**{kind: limit}))
                assert clock.now <= limit + AFTER, "it goes on after the time is up"
            verdict = problem.judge(instance, solution)
            assert np.isfinite(verdict.cost) and (verdict.feasible or not agent.fallback)
        if is_learner(agent):
            clock = Ticking(kind == "seconds")
            with monkeypatch.context() as patch:
                patch.setattr(core, "time", clock.module())
                agent.fit(problem, [instance], rng(), Budget(**{kind: float(LOOKS)}))
                assert clock.now <= LOOKS + AFTER, "its training goes on after the time is up"

    played(name, act)


@pytest.mark.parametrize("name", over_agents())
def test_steps_are_kept(name: str) -> None:
    def act(agent: Any, problem: Any, instance: Any) -> None:
        before, clock = time.process_time(), Clock(Budget())
        solution = agent.solve(problem, instance, rng(), Budget(steps=1))
        assert min(clock.cpu_seconds, time.process_time() - before) < CPU
        assert np.isfinite(problem.judge(instance, solution).cost)

    played(name, act)


@pytest.mark.parametrize("name", over_agents())
def test_it_is_said_what_a_step_is_and_what_is_not_interrupted(name: str) -> None:
    from sysgym_zoo.lookup.catalogue import budget_text

    factory: Any = agent_class(name)
    text = budget_text(factory)
    assert factory.indivisible in text and factory.step in text
    assert factory.step or not is_learner(factory)


def test_a_budget_is_spent_by_whichever_is_used_up_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "time", Ticking(wall=True).module())
    clock = Clock(Budget(seconds=3.0, cpu_seconds=1.0, steps=9))
    assert clock.share == pytest.approx(1 / 3) and clock.left() == Budget(1.0, 9, 1.0)
    assert not Clock(Budget(steps=2)).spent(1) and Clock(Budget(steps=2)).spent(2)
    assert Clock(Budget(cpu_seconds=0.0)).spent() and not Clock(Budget()).spent(10**9)


def test_compiling_is_not_counted() -> None:
    import numba

    import sysgym.compiled

    assert sysgym.compiled is not None  # it has the meter listen
    clock = Clock(Budget(cpu_seconds=1e3))

    @numba.njit  # keeps no compiled code
    def fresh(x: int) -> int:
        total = 0
        for i in range(x):
            total += i * i
        return total

    before = time.process_time()
    assert fresh(10) == 285
    taken = time.process_time() - before
    assert taken > 0.02 and clock.cpu_seconds < taken / 2


def test_threads_reach_every_pool() -> None:
    import numba
    import torch

    from sysgym import resources

    had = torch.get_num_threads()
    try:
        for count in (2, 1):
            resources.set_threads(count)
            assert (resources.threads(), torch.get_num_threads()) == (count, count)
            assert numba.get_num_threads() == min(count, numba.config.NUMBA_NUM_THREADS)
    finally:
        resources.set_threads(had)
