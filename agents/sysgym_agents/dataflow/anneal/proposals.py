"""Which moves the annealer draws: weights of pairs of a unit and a device, by a rule or whatever else knows.

A proposer is a function of a `Schedule` and units (a `Work`) that gives weights (3, U, D), not negative: how likely the
unit is to be moved to the device alone, with its linked neighbours of the same layer, and with all of its layer. One
draw in five ignores them. A move that was refused is not drawn by them again before the placement has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sysgym.core.problem import Array
from sysgym_agents.dataflow.anneal import move_kernels as kernels
from sysgym_agents.dataflow.anneal.schedule import FEATURES, Schedule, features

if TYPE_CHECKING:
    from sysgym.dataflow.features import Work

Proposer = Callable[["Schedule", "Work"], Array]
KINDS = 3  # relocate, stretch, layer: move kinds 0, 1 and 3
RENEW, RENEW_SOON, FEW = 60, 1, 1000  # steps after which weights are renewed, if the placement changed; below FEW steps
LEAST = 0.02  # of the mean weight, for pairs that the rule thinks nothing of


def rule(schedule: Schedule, work: Work) -> Array:
    """Critical time that would leave the device, or its transfers, if the other is idle or less loaded meanwhile."""
    table = features(schedule, work).astype(np.float64)
    told = {name: table[:, :, i] for i, name in enumerate(FEATURES)}
    idle = np.maximum(told["busy_here"] - told["busy_there"], 0.0) + np.maximum(-told["load_difference_after"], 0.0)
    gain = told["critical_time"] * idle + told["critical_transfers_there"]
    gain = gain / (1.0 + np.maximum(told["farther"], 0.0) / np.maximum(gain, 1e-9))
    gain += LEAST * gain.mean() + 1e-12
    return np.repeat(gain[None], KINDS, axis=0)


def renewed_after(limit: int) -> int:
    """Steps after which the weights of a search of `limit` steps are renewed, if the placement has changed."""
    return RENEW_SOON if limit < FEW else RENEW


def even() -> kernels.Table:
    """The table of no weights: every draw ignores them."""
    return kernels.Table(np.zeros(0), np.zeros(0), np.zeros(0), np.full(1, -1, np.int64))


def tabled(propose: Proposer, schedule: Schedule, works: list[Work]) -> kernels.Table:
    """The weights of units of all scales. Each scale has its share, however many units it has."""
    devices, rows = schedule.job.devices, []
    for work in works:
        weights = np.array(propose(schedule, work), np.float64) / (work.units.count * devices)
        weights[:, np.arange(work.units.count), schedule.place[work.first]] = 0.0
        rows.append(weights.reshape(KINDS, work.units.count * devices))
    given = np.concatenate(rows, axis=1).ravel()
    return kernels.Table(given, given.copy(), np.cumsum(given), np.full(1, -1, np.int64))
