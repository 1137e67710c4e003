"""`edge-gnn`: the agent of "Chip Placement with Deep Reinforcement Learning" (Mirhoseini et al., arXiv 2004.10746)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

PRETRAINING, IMITATION = 0.1, 0.6  # of the seconds of a fit that each may take
FIRST_ALONE = 0.3  # that pre-training may take without imitation


OWN = ("pretrain", "imitate", "generated")  # hyper-parameters that the algorithm does not know


@dataclass(kw_only=True, eq=False)
class EdgeGNN(Clipped, SB3Agent, StoredLearner):
    """Edge-centric graph network, attention on the current macro and a deconvolution head, trained by PPO.

    The first `fit` trains the encoder to predict the costs of `pretrain` random placements of each netlist (0: not),
    then the policy to imitate the best of `imitate` greedy packings of each (0: not), then plays: on many netlists at
    once to pre-train a policy, on one to fine-tune it. With `generated`, so many recipes `modules:seed=...` and the
    netlists turned and mirrored join those that are given. Weights fit any netlist.
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
    imitate: Annotated[int, Range(0, 1000)] = 0
    generated: Annotated[int, Range(0, 10**4)] = 0
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
        return {key: value for key, value in super()._keywords().items() if key not in OWN}

    def fit(
        self, problem: AnyProblem, instances: Sequence[Instance], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Pre-train unless there are weights, then train as `MaskablePPO` does.

        Pre-training and imitation take no steps of the budget, and at most PRETRAINING and IMITATION of its time.
        """
        clock, chosen = Clock(budget), with_options(problem, **self.options)
        if self.generated:
            from sysgym_agents.chip_placement.edge_teacher import netlists

            instances = netlists(chosen, instances, self.generated)
        if self._weights is None and self._resume is None:
            for told in self._prepared(chosen, instances, rng, budget):
                if callback is not None and not callback({"steps": 0.0, "seconds": clock.seconds, **told}):
                    return
        before = clock.seconds
        watch = None if callback is None else lambda row: callback({**row, "seconds": row["seconds"] + before})
        super().fit(problem, instances, rng, clock.left(), watch)

    def _prepared(
        self, problem: AnyProblem, instances: Sequence[Instance], rng: np.random.Generator, budget: Budget
    ) -> Iterator[dict[str, float]]:
        """Pre-train and imitate, as far as wanted; metrics after each."""
        if self.pretrain:
            from sysgym_agents.chip_placement.edge_pretrain import pretrain

            clock, generator = Clock(budget.share(PRETRAINING if self.imitate else FIRST_ALONE)), rng.spawn(1)[0]
            self._weights, explained = pretrain(self.setup(), problem, instances, generator, self.pretrain, clock)
            yield {"pretrain/explained": explained}
        if self.imitate:
            from sysgym_agents.chip_placement.edge_teacher import imitate

            wanted, generator = budget.share(IMITATION), rng.spawn(1)[0]
            self._weights, told = imitate(
                self.setup(), problem, instances, self._weights, generator, self.imitate, wanted
            )
            yield told
