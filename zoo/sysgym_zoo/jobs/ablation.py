"""`sysgym evaluate --ablate`: whether an agent beats its own fresh weights, a rule of one line, and classical agents.

Everybody solves the same instances with the same budget, again with new seeds while it lasts, and `judge` keeps the
best. Costs are compared instance by instance with those of the agent in question.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sysgym import UsageError
from sysgym.core.problem import AnyProblem, Instance, Solution
from sysgym_agents.core import Budget, agent_class, agent_names, is_learner
from sysgym_agents.general.restarts import Restarted
from sysgym_leaderboards.statistics import bootstrap_interval, geometric_means
from sysgym_zoo.jobs.console import say
from sysgym_zoo.jobs.evaluate import How, evaluate, freedom_in, place_in
from sysgym_zoo.lookup.naming import Choice, Solver, build, choose, mode_keys
from sysgym_zoo.lookup.recipes import rule_of
from sysgym_zoo.lookup.records import load_run

ROLES = ("agent", "fresh weights", "rule", "recommended", "baseline")
USUAL = Budget(cpu_seconds=2.0)  # of one solution, where none is given


class FreshWeights:
    """A trained agent whose weights are drawn anew, from the seed, before it solves."""

    def __init__(self, agent: Any, learner: Any) -> None:
        self.agent, self.learner = agent, learner  # the second is within the first
        self.fallback = agent.fallback

    @property
    def fell_back(self) -> bool:
        """Whether the last answer was the agent's fallback."""
        return bool(self.agent.fell_back)

    def prepare(self) -> None:
        """Import what the agent imports."""
        self.agent.prepare()

    def solve(self, problem: AnyProblem, instance: Instance, rng: np.random.Generator, budget: Budget) -> Solution:
        """Forget, then solve; UsageError if the agent cannot draw its weights anew."""
        if not self.learner.forget(rng.spawn(1)[0]):
            raise UsageError("it does not say how its weights are drawn anew (its method `forget`).")
        found: Solution = self.agent.solve(problem, instance, rng, budget)
        return found


@dataclass(frozen=True)
class Contestant:
    """Who takes part, and as what."""

    solver: Solver
    role: str


class Sides(NamedTuple):
    """Costs of two agents on the instances that both answer feasibly, (T,) each: means over the seeds, geometric."""

    mine: Any
    theirs: Any


def contestants(
    word: str, problem: AnyProblem, given: set[str], baselines: Sequence[str] | None = None
) -> list[Contestant]:
    """The agent of a word and all that it is compared with, the baselines being all or those that are named; who
    cannot take part is named on stderr.
    """
    choice = choose(word)
    found = [_contestant(choice, problem, given, "agent")]
    if choice.run is not None:
        found.append(_fresh(choice, problem, given))
    rule = rule_of(problem.name, choice.agent, _recipe_of(choice))
    if not rule:
        say(f"no recipe names a rule that {choice.name} must beat ([ablation] rule = ...); it is left out.")
    names = {rule: "rule", problem.recommended_agent: "recommended"}
    others = _baselines(problem) if baselines is None else baselines
    names |= {name: "baseline" for name in others if name not in names}
    for name, role in names.items():
        if not name or name == choice.word:
            continue
        own = _in_mode(choose(name), choice, problem) if role == "rule" else choose(name)
        try:
            found.append(_contestant(own, problem, given, role))
        except UsageError as error:
            say(f"{name} is left out: {error}")
    return found


def _recipe_of(choice: Choice) -> str:
    """The recipe that a run was made with, or that a word names."""
    if choice.run is None or choice.recipe:
        return choice.recipe
    return str(load_run(choice.run)["agent"].get("recipe") or "")


def _in_mode(rule: Choice, trained: Choice, problem: AnyProblem) -> Choice:
    """A rule that plays in the action mode of the trained agent, unless it has one of its own."""
    modes = mode_keys(problem)
    mode = {key: value for key, value in trained.options.items() if key in modes}
    return rule if rule.options else replace(rule, options=mode, own=mode)


def _baselines(problem: AnyProblem) -> list[str]:
    """Names of the agents that are made for a problem and do not learn."""
    found = []
    for name in agent_names():
        try:
            factory: Any = agent_class(name)
        except UsageError as error:
            say(f"{name} is left out: {error}")
            continue
        if problem.name in factory.problems and not is_learner(factory):
            found.append(name)
    return found


def _contestant(choice: Choice, problem: AnyProblem, given: set[str], role: str) -> Contestant:
    solver = build(choice, problem, given)
    return Contestant(solver._replace(agent=Restarted(solver.agent)), role)


def _fresh(choice: Choice, problem: AnyProblem, given: set[str]) -> Contestant:
    """The same agent with weights that are drawn anew for every seed."""
    solver = build(choice, problem, given)
    agent = FreshWeights(Restarted(solver.agent), solver.agent)
    return Contestant(Solver(f"{choice.name} (fresh weights)", agent, True), "fresh weights")


def ablate(
    word: str, problem: AnyProblem, given: set[str], instances: Sequence[Instance], how: How,
    baselines: Sequence[str] | None = None,
) -> tuple[Path, list[dict[str, Any]]]:  # fmt: skip
    """Evaluate an agent beside what it must beat, and `baselines` (default: all); the run folder, and the table of
    `compare`.
    """
    budget = USUAL if how.budget == Budget() else how.budget
    taking = contestants(word, problem, given, baselines)
    roles = {item.solver.name: {"role": item.role} for item in taking}
    notes = {"ablation": {"agent": taking[0].solver.name, "contestants": roles}}
    how = how._replace(budget=budget, notes={**how.notes, **notes}, lenient=True)
    folder, rows = evaluate(problem, [item.solver for item in taking], instances, how)
    return folder, compare(rows, notes["ablation"], tuple(problem.freedoms))


def compare(
    rows: Sequence[Mapping[str, Any]], told: Mapping[str, Any], freedoms: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """One line a contestant, by its cost over the agent's: geometric mean, interval over instances, who is better.

    An answer that is an agent's fallback is none of its own: it counts as infeasible. told: what the record keeps under
    `ablation`. freedoms: the problem's; who answers with another than the agent
    stands apart, without a ratio to it. UsageError if the agent itself has no rows.
    """
    rows = [{**row, "feasible": row["feasible"] and not row.get("fallback")} for row in rows]
    names = [name for name in told["contestants"] if any(row["agent"] == name for row in rows)]
    if told["agent"] not in names:
        raise UsageError(f"agent {told['agent']!r} answered nothing; nothing can be compared with it.")
    groups = {name: freedom_in([row for row in rows if row["agent"] == name], freedoms) for name in names}
    own = groups[told["agent"]]
    lines = [_line(name, rows, told, groups[name], groups[name] == own) for name in names]
    return sorted(lines, key=lambda line: (line["freedom"] != (own or None), place_in(line["freedom"], freedoms)))


def _line(
    name: str, rows: Sequence[Mapping[str, Any]], told: Mapping[str, Any], freedom: str, alike: bool
) -> dict[str, Any]:
    mine = [row for row in rows if row["agent"] == name]
    who = told["contestants"][name]
    line = {
        "agent": name, "role": who["role"], "over agent": None, "low": None, "high": None, "agent is better": None,
        "paired": 0, "feasible": f"{100 * np.mean([row['feasible'] for row in mine]):.0f} %",
        "CPU s": float(np.mean([row["cpu_seconds"] for row in mine])), "freedom": freedom or None,
    }  # fmt: skip
    sides = paired(rows, told["agent"], name)
    if alike and len(sides.mine):
        ratios = (sides.theirs / sides.mine)[None]  # (1, T): a single run, so that instances are drawn again
        low, high = bootstrap_interval(ratios, geometric_means).tolist() if ratios.size > 1 else (None, None)
        line |= {"over agent": float(geometric_means(ratios)), "low": low, "high": high, "paired": ratios.shape[1]}
        if name != told["agent"]:
            more = sum(row["feasible"] for row in rows if row["agent"] == told["agent"]) - sum(
                row["feasible"] for row in mine
            )  # who answers feasibly less often is not better, whatever it costs where both do
            line["agent is better"] = _better(low, high, more)
    return line


def _better(low: float | None, high: float | None, more: int) -> str:
    """Whether an interval and so many more feasible answers say so; a single instance has no interval."""
    if low is None or high is None:
        return "unclear"
    return "yes" if low > 1 and more >= 0 else "no" if high < 1 and more <= 0 else "unclear"


def paired(rows: Sequence[Mapping[str, Any]], one: str, two: str) -> Sides:
    """Positive costs of two agents on the instances where both are feasible with every seed."""
    costs: dict[str, dict[str, float]] = {}
    for name in (one, two):
        of: dict[str, list[float]] = {}
        for row in rows:
            if row["agent"] == name:
                sound = row["feasible"] and row["cost"] is not None and row["cost"] > 0
                of.setdefault(row["instance"], []).append(math.log(row["cost"]) if sound else math.nan)
        costs[name] = {instance: math.exp(float(np.mean(found))) for instance, found in of.items()}
    shared = [item for item in costs[one] if item in costs[two]]
    table = np.array([[costs[one][item], costs[two][item]] for item in shared], np.float64).reshape(-1, 2)
    kept = table[np.isfinite(table).all(axis=1)]
    return Sides(kept[:, 0], kept[:, 1])


def verdict(lines: Sequence[Mapping[str, Any]]) -> str:
    """A sentence: whether the agent beats its own ablation."""
    agent, *others = lines
    own = [line for line in others if line["role"] in ("fresh weights", "rule") and line["freedom"] == agent["freedom"]]
    lost = [line["agent"] for line in own if line["agent is better"] != "yes"]
    if not own:
        return f"{agent['agent']} has nothing of its own to be compared with."
    if agent["paired"] == 1:
        return f"One instance with feasible answers says nothing for certain of {agent['agent']}."
    if lost:
        return f"{agent['agent']} does not beat {' and '.join(lost)}: it is not recommended."
    return f"{agent['agent']} beats {' and '.join(line['agent'] for line in own)}."
