"""The only definition of cost and validity of a configuration."""

from __future__ import annotations

from sysgym.core.problem import Array, Verdict
from sysgym.nmt_architecture.instance import POINTS, Configurations, table
from sysgym.nmt_architecture.networks import parameters_of


def judge_design(instance: Configurations, design: Array) -> Verdict:
    """Judge a design (P,). cost = 100 - the mean quality that the table has of it; no noise.

    A design that the table does not have is infeasible and costs 100. Metrics: `quality` in points (BLEU, or 100 - the
    error rate in percent), `regret` (cost less the least of the table), `spread` (standard deviation of a result), and
    `parameters` of the network in millions, 0 where they are not known.
    """
    found = table(instance.space)
    number = int(found.number(design))
    cost = float(found.cost[number])
    metrics = {
        "quality": POINTS - cost, "regret": cost - float(found.cost[found.best]), "spread": float(found.spread[number]),
        "parameters": parameters_of(instance, design) / 1e6,
    }  # fmt: skip
    if found.present[number]:
        return Verdict(True, cost, metrics)
    return Verdict(False, cost, metrics, ("the table has no such configuration",))
