"""`edge-gnn`: the agent of "Chip Placement with Deep Reinforcement Learning" (Mirhoseini et al., arXiv 2004.10746)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from sysgym.core.options import Choices, Range
from sysgym.core.problem import AnyProblem, Instance
from sysgym.core.registry import with_options
from sysgym_agents.core import Budget, Callback, Clock
from sysgym_agents.general.sb3.learners import Bonus, Clipped, Discount, Natural, Pace, SB3Agent, Several, Trace, Width
from sysgym_agents.learning.learner import StoredLearner

if TYPE_CHECKING:
    from sysgym_agents.general.sb3.library import Library

PRETRAINING = 0.3  # of the seconds of a fit that pre-training may take


@dataclass(kw_only=True, eq=False)
class EdgeGNN(Clipped, SB3Agent, StoredLearner):
    """Edge-centric graph network, attention on the current macro and a deconvolution head, trained by PPO.

    The first `fit` trains the encoder to predict the costs of `pretrain` random placements of each netlist (0: not),
    then plays: on many netlists at once to pre-train a policy, on one to fine-tune it. Weights fit any netlist.
    Needs `mode="sequential"`, which it sets.
    """

    name: ClassVar[str] = "edge-gnn"
    algorithm: ClassVar[str] = "EdgeGNN"
    problems: ClassVar[tuple[str, ...]] = ("ChipPlacement",)
    options: ClassVar[Mapping[str, Any]] = {"mode": "sequential", "orient": False}
    default_budget: ClassVar[Budget] = Budget(seconds=300)

    hidden: Annotated[Width, Choices(16, 32, 64)] = 32
    layers: Annotated[int, Range(1, 64)] = 3
    pretrain: Natural = 128
    reward: Literal["improvement", "final", "log"] = "final"
    scaled: bool = False
    learning_rate: Pace = 1e-3
    gamma: Discount = 1.0
    gae_lambda: Trace = 1.0
    n_steps: Several = 133
    batch_size: Several = 266
    ent_coef: Bonus = 0.01

    def library(self) -> Library:
        """MaskablePPO with the network's own policy, and advantages standardised a netlist."""
        import sb3_contrib
        from gymnasium import spaces

        from sysgym_agents.chip_placement.edge_net import EdgePolicy
        from sysgym_agents.general.sb3.buffers import PerGraphRolloutBuffer
        from sysgym_agents.general.sb3.library import Library

        return Library(sb3_contrib.MaskablePPO, EdgePolicy, PerGraphRolloutBuffer, (spaces.Discrete,))

    def _keywords(self) -> dict[str, Any]:
        return {key: value for key, value in super()._keywords().items() if key != "pretrain"}

    def fit(
        self, problem: AnyProblem, instances: Sequence[Instance], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Pre-train the encoder unless there are weights, then train as `MaskablePPO` does.

        Pre-training takes no steps of the budget, and at most PRETRAINING of its time.
        """
        clock = Clock(budget)
        if self._weights is None and self._resume is None and self.pretrain:
            from sysgym_agents.chip_placement.edge_pretrain import pretrain

            chosen = with_options(problem, **self.options)
            self._weights, explained = pretrain(
                self.setup(), chosen, instances, rng.spawn(1)[0], self.pretrain, Clock(budget.share(PRETRAINING))
            )
            told = {"steps": 0.0, "seconds": clock.seconds, "pretrain/explained": explained}
            if callback is not None and not callback(told):
                return
        before = clock.seconds
        watch = None if callback is None else lambda row: callback({**row, "seconds": row["seconds"] + before})
        super().fit(problem, instances, rng, clock.left(), watch)
