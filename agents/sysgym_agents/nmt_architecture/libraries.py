"""Searches of other libraries: TPE by `optuna`, the extra `searches`."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from sysgym.core.errors import MissingDependency
from sysgym.core.options import Range
from sysgym_agents.nmt_architecture.searches import Search, new_design

if TYPE_CHECKING:
    from sysgym_agents.nmt_architecture.laboratory import Laboratory


def _optuna() -> Any:
    try:
        return import_module("optuna")
    except ImportError as error:
        raise MissingDependency("agent 'tpe-trials' needs optuna: pip install 'sysgym[searches]'.") from error


class TPETrials(Search):
    """The tree-structured Parzen estimator (Bergstra et al. 2011) by `optuna`, over unordered values.

    A suggestion that the table does not have is told as failed, and a random design takes its place.
    """

    indivisible = "a suggestion"

    def __init__(self, *, startup: Annotated[int, Range(1, 10_000)] = 5) -> None:
        self.startup = startup

    def prepare(self) -> None:
        """Import the library and the kernels."""
        super().prepare()
        _optuna()

    def search(self, lab: Laboratory, rng: np.random.Generator) -> None:
        """A suggestion after the other."""
        library = _optuna()
        library.logging.set_verbosity(library.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", library.exceptions.ExperimentalWarning)
            sampler = library.samplers.TPESampler(
                n_startup_trials=self.startup, multivariate=True, seed=int(rng.integers(2**31))
            )
        study = library.create_study(sampler=sampler)
        ranges = {str(place): library.distributions.CategoricalDistribution(range(count))
                  for place, count in enumerate(lab.counts.tolist())}  # fmt: skip
        while lab.left:
            trial = study.ask(ranges)
            design = np.array([trial.params[str(place)] for place in range(len(lab.counts))], np.int64)
            if lab.exists(design):
                study.tell(trial, lab(design))
                continue
            study.tell(trial, state=library.trial.TrialState.FAIL)
            design = new_design(lab, rng)
            shown = {str(place): int(value) for place, value in enumerate(design)}
            study.add_trial(library.trial.create_trial(params=shown, distributions=ranges, value=lab(design)))
