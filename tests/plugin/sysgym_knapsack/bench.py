"""`sysgym bench knapsack`: how long a rule takes for a sack."""

from __future__ import annotations

from typing import Any

import numpy as np

from sysgym_agents import Budget
from sysgym_knapsack.agent import Rule
from sysgym_knapsack.problem import Knapsack
from sysgym_zoo.jobs.measuring import each, row


def rows(quick: bool) -> list[dict[str, Any]]:
    """Microseconds of one answer."""
    problem, rng = Knapsack(), np.random.default_rng(0)
    items = problem.load("small/test-0")
    spent = each(lambda: Rule().solve(problem, items, rng, Budget()), 0.01 if quick else 1.0)
    return [row("one answer of knapsack-rule", 1e6 * spent, "us", "<= 100000")]
