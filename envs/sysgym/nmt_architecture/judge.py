"""The only definition of cost and validity of a configuration."""

from __future__ import annotations

from sysgym.core.problem import Array, Verdict
from sysgym.nmt_architecture.instance import POINTS, Configurations
from sysgym.nmt_architecture.live import known, sizes
from sysgym.nmt_architecture.networks import parameters_of


def judge_design(instance: Configurations, design: Array) -> Verdict:
    """Judge a design (P,). cost = 100 - the mean quality that the table has of it, or that of three trainings where the
    instance has a task; no noise.

    A design that the table does not have is infeasible and costs 100. Metrics: `quality` in points (BLEU, or 100 - the
    error rate in percent), `regret` (cost less the least of the table; of a task nobody knows it), `spread` (standard
    deviation of a result), and `parameters` of the network in millions, 0 where they are not known.
    """
    found = known(instance)
    number = int(found.number(design))
    cost = found.mean(number)
    millions = parameters_of(instance.space, design, sizes(instance)) / 1e6
    metrics = {"quality": POINTS - cost, **found.figures(number), "parameters": millions}
    if found.present[number]:
        return Verdict(True, cost, metrics)
    return Verdict(False, cost, metrics, ("the table has no such configuration",))
