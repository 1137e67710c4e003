"""The action modes: a search by noisy evaluations in a table of configurations."""

from __future__ import annotations

from typing import Any

from sysgym.nmt_architecture.instance import POINTS, Configurations, table
from sysgym.nmt_architecture.live import known
from sysgym.search.tables import Lookup
from sysgym.search.trials import OneShotTrials, SequentialTrials


class ConfigurationTables:
    """What instances are to a search (`sysgym.search.trials.Tables`)."""

    def table(self, instance: Configurations) -> Lookup:
        """All configurations, made once a space."""
        return known(instance)

    def seed(self, instance: Configurations) -> int:
        """Of the noise."""
        return instance.seed

    def evaluations(self, instance: Configurations) -> int:
        """How many there are."""
        return instance.evaluations

    def scale(self, instance: Configurations) -> float:
        """The baseline's cost; 1 where that is 0, and POINTS where it would have to be trained first."""
        if instance.task is not None:
            return POINTS
        found = table(instance.space)
        return float(found.cost[found.number(instance.space.baseline)]) or 1.0


def choose_mode(mode: str) -> Any:
    """The dynamics of a mode."""
    return (OneShotTrials if mode == "oneshot" else SequentialTrials)(ConfigurationTables())
