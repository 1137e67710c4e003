"""`edge-gnn`: the agent of "Chip Placement with Deep Reinforcement Learning" (Mirhoseini et al., arXiv 2004.10746)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Instance
from sysgym.core.registry import with_options
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.general.sb3.learners import PPOPlace

PRETRAINING = 0.3  # of the seconds of a fit that pre-training may take


@dataclass(kw_only=True)
class EdgeGNN(PPOPlace):
    """Edge-centric graph network, attention on the current macro and a deconvolution head, trained by PPO.

    The first `fit` trains the encoder to predict the costs of `pretrain` random placements of each netlist (0: not),
    then plays: on many netlists at once to pre-train a policy, on one to fine-tune it. Weights fit any netlist.
    Needs `mode="sequential"`, which it sets.
    """

    algorithm: ClassVar[str] = "EdgeGNN"
    default_budget: ClassVar[Budget] = Budget(seconds=300)
    layers: int = 3
    pretrain: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers < 1:
            raise UsageError(f"layers of EdgeGNN must be a whole number from 1, got {self.layers!r}.")

    def _keywords(self) -> dict[str, Any]:
        return {key: value for key, value in super()._keywords().items() if key != "pretrain"}

    def fit(
        self, problem: Any, instances: Sequence[Instance], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Pre-train the encoder unless there are weights, then train as `MaskablePPO` does.

        Pre-training takes no steps of the budget, and at most PRETRAINING of its seconds.
        """
        clock = Clock(budget)
        if self._trained is None and self._resume is None and self.pretrain:
            from sysgym_agents.chip_placement.edge_pretrain import pretrain

            share = None if budget.seconds is None else PRETRAINING * budget.seconds
            chosen = with_options(problem, **self.options)
            self._trained, explained = pretrain(
                self._setup(), chosen, instances, rng.spawn(1)[0], self.pretrain, Clock(Budget(share))
            )
            told = {"steps": 0.0, "seconds": clock.seconds, "pretrain/explained": explained}
            if callback is not None and not callback(told):
                return
        before = clock.seconds
        left = None if budget.seconds is None else max(budget.seconds - before, 0.0)
        watch = None if callback is None else lambda row: callback({**row, "seconds": row["seconds"] + before})
        super().fit(problem, instances, rng, Budget(left, budget.steps), watch)
