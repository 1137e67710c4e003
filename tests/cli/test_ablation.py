"""What a trained agent is compared with, and how the comparison is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sysgym import Solution, UsageError, make_problem
from sysgym_agents.core import Budget, completed, make_agent
from sysgym_agents.general.restarts import ALIKE, Restarted
from sysgym_zoo.jobs.ablation import ROLES, compare, contestants, paired, verdict
from sysgym_zoo.lookup.naming import choose
from sysgym_zoo.lookup.recipes import load_recipe, recipe_names, rule_of

GOLDEN = Path(__file__).parents[1] / "golden" / "runs"


def row(agent: str, instance: str, cost: float | None, feasible: bool = True) -> dict[str, Any]:
    return {"agent": agent, "instance": instance, "seed": 0, "cost": cost, "feasible": feasible, "cpu_seconds": 1.0}


def told(*names: str) -> dict[str, Any]:
    roles = ("agent", "fresh weights", "rule")
    return {
        "agent": names[0],
        "contestants": {name: {"role": role} for name, role in zip(names, roles, strict=False)},
    }


def test_ratios_are_paired_over_instances_and_their_interval_holds_them() -> None:
    rows = [row("a", f"i{k}", 10.0 * (k + 1)) for k in range(6)]
    rows += [row("b", f"i{k}", 20.0 * (k + 1)) for k in range(6)]  # twice as much everywhere, whatever the size
    rows += [row("c", f"i{k}", 10.0 * (k + 1) * (0.5 if k % 2 else 2.0)) for k in range(6)]
    a, b, c = compare(rows, told("a", "b", "c"))
    assert (a["over agent"], a["agent is better"]) == (1.0, None)
    assert [b[key] for key in ("over agent", "low", "high")] == pytest.approx([2.0, 2.0, 2.0])
    assert (b["agent is better"], b["paired"]) == ("yes", 6)
    assert c["over agent"] == pytest.approx(1.0) and c["low"] < 1 < c["high"] and c["agent is better"] == "unclear"
    assert verdict([a, b, c]) == "a does not beat c: it is not recommended."
    assert verdict([a, b]) == "a beats b."


def test_only_instances_that_both_answer_are_compared() -> None:
    rows = [row("a", "x", 10.0), row("a", "y", 10.0), row("a", "z", 10.0)]
    rows += [row("b", "x", 30.0), row("b", "y", None, feasible=False), row("b", "z", 1.0, feasible=False)]
    rows += [row("a", "v", 10.0), row("b", "v", 30.0)]
    sides = paired(rows, "a", "b")
    assert sides.mine.tolist() == pytest.approx([10.0] * 2) and sides.theirs.tolist() == pytest.approx([30.0] * 2)
    line = compare(rows, told("a", "b"))[1]
    assert (line["paired"], line["feasible"]) == (2, "50 %")
    assert line["over agent"] == pytest.approx(3.0) and line["agent is better"] == "yes"
    assert compare(rows, told("b", "a"))[1]["agent is better"] == "no"
    rows[1]["feasible"] = rows[2]["feasible"] = False
    rows += [row("a", "w", None, feasible=False)]  # as often feasible, then less often: cheaper is not enough
    assert compare(rows, told("a", "b"))[1]["agent is better"] == "yes"
    rows[4] = row("b", "y", 5.0)
    assert compare(rows, told("a", "b"))[1]["agent is better"] == "unclear"
    none = compare([row("a", "x", 1.0), row("b", "x", None, feasible=False)], told("a", "b"))[1]
    assert none["over agent"] is None and none["agent is better"] is None
    with pytest.raises(UsageError, match="answered nothing"):
        compare([row("b", "x", 1.0)], told("a", "b"))


def test_one_instance_says_nothing_for_certain() -> None:
    rows = [{**row(name, "x", cost), "seed": seed} for name, cost in (("a", 1.0), ("b", 2.0)) for seed in range(9)]
    lines = compare(rows, told("a", "b"))
    assert [lines[1][key] for key in ("over agent", "low", "high", "agent is better")] == [2.0, None, None, "unclear"]
    assert verdict(lines) == "One instance with feasible answers says nothing for certain of a."


def test_who_has_another_freedom_stands_apart() -> None:
    freedoms = {"a": "some", "b": "all", "c": "some", "d": "none"}
    rows = [{**row(name, f"i{k}", 1.0 + k), "freedom": freedoms[name]} for name in freedoms for k in range(3)]
    rows += [{**row("c", "i3", 1.0, feasible=False), "freedom": "all"}]  # what is infeasible tells nothing
    names = told("a", "b", "c")
    names["contestants"]["d"] = {"role": "baseline"}
    lines = compare(rows, names, ("none", "some", "all"))
    assert [(line["agent"], line["freedom"]) for line in lines] == [
        ("a", "some"), ("c", "some"), ("d", "none"), ("b", "all")
    ]  # fmt: skip
    assert [line["over agent"] for line in lines] == [1.0, 1.0, None, None]
    assert [line["paired"] for line in lines] == [3, 3, 0, 0]
    assert verdict(lines) == "a does not beat c: it is not recommended."  # b, its fresh weights, is not compared


def test_recipes_name_rules_that_exist() -> None:
    named = [name for name in recipe_names() if load_recipe(name).ablation]
    assert len(named) >= 8
    for name in named:
        recipe = load_recipe(name)
        rule = choose(rule_of(recipe.problem, recipe.agent, name))
        make_agent(rule.agent, **rule.hyper)


def test_a_rule_must_be_text(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    for text, sentence in (("rule = 3", "rule must be the name"), ("rul = 'fm'", "rule")):
        file.write_text(f"[ablation]\n{text}\n")
        with pytest.raises(UsageError, match=sentence):
            load_recipe(str(file))


@completed
class Draws:
    """Answers what it draws."""

    def __init__(self) -> None:
        self.drawn: list[Any] = []

    def solve(self, problem: Any, instance: Any, rng: np.random.Generator, budget: Budget) -> Solution:
        self.drawn.append(rng.integers(0, 2, instance.nodes).astype(np.int32))
        return {"part": self.drawn[-1]}


def test_restarts_answer_the_best_of_the_runs_that_fit() -> None:
    problem = make_problem("Partitioning", k=2, eps=0.5)
    graph = problem.load("tiny/delaunay-test")
    plain: Any = Draws()
    found = Restarted(plain).solve(problem, graph, np.random.default_rng(0), Budget(steps=30))
    assert len(plain.drawn) == 30
    verdicts = [problem.judge(graph, {"part": part}) for part in plain.drawn]
    best = min(verdicts, key=lambda v: (not v.feasible, v.cost))
    assert problem.judge(graph, found).cost == best.cost
    again: Any = Draws()
    Restarted(again).solve(problem, graph, np.random.default_rng(0), Budget())
    assert len(again.drawn) == 1  # without a limit, what the agent alone does


def test_what_always_answers_the_same_is_not_run_for_ever() -> None:
    problem = make_problem("Partitioning", k=2)
    one = Restarted(make_agent("ldg", order="natural"))
    one.solve(problem, problem.load("tiny/delaunay-test"), np.random.default_rng(0), Budget(cpu_seconds=1e3))
    assert one.runs == ALIKE + 1


def test_a_trained_agent_is_compared_with_all_that_it_must_beat(sysgym: Any, tmp_path: Path) -> None:
    words = ("evaluate", "--ablate", str(GOLDEN / "gap"), "--instances", "tiny/delaunay-test;tiny/geometric-test")
    found = json.loads(sysgym(*words, "--seeds", "2", "--steps", "2", "--out", "ablation", "--json").stdout)
    assert {line["role"] for line in found["lines"]} == {*ROLES} and found["lines"][0]["role"] == "agent"
    record = json.loads((tmp_path / "ablation" / "run.json").read_text())
    assert record["budget"] == {"seconds": None, "steps": 2, "cpu_seconds": None}
    shown = sysgym("report", "ablation").stdout
    assert found["verdict"] in shown and shown.count("\n|") >= len(found["lines"])
    few = sysgym(*words, "--seeds", "1", "--steps", "1", "--agent", "ldg", "--out", "few", "--json").stdout
    assert [line["agent"] for line in json.loads(few)["lines"] if line["role"] == "baseline"] == ["ldg"]


def test_the_rule_is_that_of_the_recipe_and_plays_in_its_mode() -> None:
    problem = make_problem("Partitioning", k=2)
    found = contestants(str(GOLDEN / "ppo-refine"), problem, set())
    rule = next(item for item in found if item.role == "rule")
    assert rule.solver.name == "greedy"
    answer = rule.solver.agent.solve(problem, problem.load("tiny/delaunay-test"), np.random.default_rng(0), Budget())
    assert {*answer} == {"part"}  # in mode `assign`, the problem's own here, no gain is listed


def test_weights_that_are_forgotten_are_other_weights() -> None:
    for name in ("gap", "gdp", "hdp", "placeto"):
        agent = make_agent(name)
        assert not agent.forget(np.random.default_rng(0))  # there are none
        agent.load(GOLDEN / name / "agent")
        before = {key: value.clone() for key, value in agent.weights().items()}
        assert agent.forget(np.random.default_rng(0))
        after = agent.weights()
        assert {*before} == {*after} and any((before[key] != after[key]).any() for key in before)
