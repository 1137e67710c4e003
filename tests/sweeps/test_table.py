"""The numbers of a sweep's table, against plain arithmetic."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sysgym_zoo.sweeps.table import Evaluated, ablation_lines, compared_lines, shown

NAMES = ("a", "b", "c")


def evaluated(label: str, costs: list[list[float | None]]) -> Evaluated:
    """Costs by instance and seed; None: infeasible. The reference of every instance is 10."""
    rows = [
        {
            "agent": label, "instance": name, "seed": seed, "cost": cost, "feasible": cost is not None,
            "ratio": None if cost is None else cost / 10, "seconds": 1.0, "cpu_seconds": 1.0, "metrics": {},
        }
        for name, found in zip(NAMES, costs, strict=True)
        for seed, cost in enumerate(found)
    ]  # fmt: skip
    record = {"instances": [{"name": name, "hash": ""} for name in NAMES], "freedoms": []}
    return Evaluated(label, label, record, rows)


def geomean(values: list[float]) -> float:
    return math.prod(values) ** (1 / len(values))


def line_of(lines: list[dict[str, Any]], label: str) -> dict[str, Any]:
    return next(line for line in lines if line["agent"] == label)


def test_ratios_are_geometric_means_over_seeds_instances_and_runs() -> None:
    one = evaluated("net", [[10, 20], [30, 30], [40, 10]])
    two = evaluated("net", [[20, 20], [15, 60], [40, 40]])
    rule = evaluated("rule", [[20, 20], [30, 30], [20, 20]])
    lines = compared_lines([one, two, rule], "rule")
    net = line_of(lines, "net")
    every = [10, 20, 30, 30, 40, 10, 20, 20, 15, 60, 40, 40]
    assert net["runs"] == 2 and net["ratio"] == pytest.approx(geomean([cost / 10 for cost in every]))
    over = [cost / base for cost, base in zip(every, [20, 20, 30, 30, 20, 20] * 2, strict=True)]
    assert net["over rule"] == pytest.approx(geomean(over))
    assert net["over rule low"] <= net["over rule"] <= net["over rule high"]
    assert line_of(lines, "rule")["over rule"] is None and lines[0]["ratio"] <= lines[1]["ratio"]


def test_intervals_are_over_seeds_where_both_have_several_and_else_over_instances() -> None:
    same = [evaluated("net", [[10], [20], [40]]) for _ in range(3)]
    rule = [evaluated("rule", [[10], [10], [10]]) for _ in range(2)]
    net = line_of(compared_lines([*same, *rule], "rule"), "net")
    assert net["over rule low"] == pytest.approx(net["over rule high"]) == pytest.approx(2)
    for runs in (same[:1], same):
        alone = line_of(compared_lines([*runs, rule[0]], "rule"), "net")
        assert alone["over rule low"] < 1.5 and alone["over rule high"] > 2.5 and alone["paired"] == 3


def test_the_spread_of_the_base_counts_too() -> None:
    base = [evaluated("net", [[cost], [cost], [cost]]) for cost in (5, 10, 20)]
    other = [evaluated("rule", [[10], [10], [10]]) for _ in range(3)]
    line = line_of(compared_lines([*base, *other], "net"), "rule")
    back = line_of(compared_lines([*base, *other], "rule"), "net")
    assert line["over net"] == pytest.approx(1) and line["over net low"] < 0.8 and line["over net high"] > 1.25
    assert back["over rule low"] == pytest.approx(1 / line["over net high"], rel=0.05)


def test_an_infeasible_answer_leaves_its_instance_out_of_both_sides_and_takes_the_ratio_away() -> None:
    net = evaluated("net", [[10, 10], [None, 30], [40, 40]])
    rule = evaluated("rule", [[20, 20], [30, 30], [20, 20]])
    line = line_of(compared_lines([net, rule], "rule"), "net")
    assert line["ratio"] is None and line["feasible"] == "83 %"
    assert line["over rule"] == pytest.approx(geomean([0.5, 2.0])) and line["paired"] == 2


@pytest.mark.parametrize("cost", [0.0, -3.0])
def test_costs_that_have_no_ratio_are_not_compared(cost: float) -> None:
    net = evaluated("net", [[cost], [cost], [cost]])
    line = line_of(compared_lines([net, evaluated("rule", [[1], [1], [1]])], "rule"), "net")
    assert line["over rule"] is None and line["ratio"] is None and line["cost"] == cost


def test_an_agent_that_is_not_there_is_replaced_by_the_first() -> None:
    lines = compared_lines([evaluated("net", [[1], [1], [1]]), evaluated("rule", [[2], [2], [2]])], "nobody")
    assert line_of(lines, "rule")["over net"] == pytest.approx(2)


def contest(seed: int) -> Evaluated:
    """An ablation of which one run finds 10 or 20, its fresh weights twice as much, the rule always 15."""
    told = {
        "agent": "net (x)",
        "contestants": {"net (x)": {"role": "agent"}, "net (fresh weights)": {"role": "fresh weights"},
                        "rule": {"role": "rule"}},
    }  # fmt: skip
    own = 10.0 if seed == 0 else 20.0
    rows = []
    for name, cost in (("net (x)", own), ("net (fresh weights)", 2 * own), ("rule", 15.0)):
        rows += list(evaluated(name, [[cost], [cost], [cost]]).rows)
    record = {"instances": [{"name": name, "hash": ""} for name in NAMES], "freedoms": [], "ablation": told}
    return Evaluated("net", "net", record, rows)


def test_an_ablation_compares_each_run_with_itself() -> None:
    lines = {line["role"]: line for line in ablation_lines([contest(0), contest(1)])}
    assert (
        lines["fresh weights"]["over agent"] == pytest.approx(2) and lines["fresh weights"]["agent is better"] == "yes"
    )
    assert lines["rule"]["over agent"] == pytest.approx(geomean([1.5, 0.75]))
    assert lines["rule"]["agent is better"] == "unclear" and lines["agent"]["over agent"] == 1
    assert {line["runs"] for line in lines.values()} == {2}


def test_an_ablation_compares_the_same_instances_in_every_run() -> None:
    """The rule is infeasible on a in one run and on b in the other: c alone is left, where it costs 8 times as much."""
    found = []
    for missing in ("a", "b"):
        each = contest(0)
        for row in each.rows:
            if row["agent"] == "rule":
                row |= {"cost": {"a": 10.0, "b": 20.0, "c": 80.0}[row["instance"]]}
                row |= {"feasible": row["instance"] != missing}
        found.append(each)
    line = next(line for line in ablation_lines(found) if line["role"] == "rule")
    assert line["over agent"] == pytest.approx(8) and line["paired"] == 1 and line["agent is better"] != "no"


def test_intervals_are_read_beside_their_value() -> None:
    assert shown({"ratio": 1.0, "ratio low": 1.0, "ratio high": 1.0, "x": 3}) == {"ratio": 1.0, "x": 3}
    assert shown({"ratio": None, "ratio low": None, "ratio high": None}) == {"ratio": None}
