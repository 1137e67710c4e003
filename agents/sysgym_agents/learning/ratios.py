"""Costs over reference costs, as evaluations, training metrics and the choice of a model tell them."""

from __future__ import annotations

import math
from typing import NamedTuple

from sysgym.core.defaults import first_costs
from sysgym.core.problem import AnyProblem, Instance


class Reference(NamedTuple):
    """A cost that others are divided by."""

    who: str
    cost: float


def known_reference(problem: AnyProblem, instance: Instance, freedom: str = "") -> Reference | None:
    """The reference cost of an instance for answers of a freedom, or the first where that names nobody; None where none
    is known.
    """
    known = problem.reference_costs(instance)
    who = (problem.freedoms[freedom].reference if freedom else "") or next(iter(known), "")
    return Reference(who, known[who]) if who in known else None


def usable_reference(problem: AnyProblem, instance: Instance) -> Reference | None:
    """The first reference cost, else what always the first legal action comes to; None where that is no answer."""
    found = known_reference(problem, instance)
    if found is None:
        found = next((Reference(*item) for item in first_costs(problem, instance).items()), None)
    return found


def ratio(cost: float, reference: float) -> float | None:
    """How many times worse a cost is than the reference; None where that has no meaning.

    >>> ratio(3.0, 2.0), ratio(-2.0, -3.0), ratio(0.0, 0.0), ratio(1.0, 0.0), ratio(0.0, 2.0)
    (1.5, 1.5, 1.0, None, 0.0)
    """
    if cost == reference:
        return 1.0
    if cost == 0 < reference:
        return 0.0
    if cost * reference <= 0 or not math.isfinite(cost):
        return None
    return cost / reference if cost > 0 else reference / cost


def geometric_mean(ratios: list[float]) -> float:
    """The mean of ratios that are not negative; 0 where one of them is.

    >>> geometric_mean([1.0, 4.0]), geometric_mean([1.0, 0.0])
    (2.0, 0.0)
    """
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if all(ratios) else 0.0
