"""Stable-Baselines3 and sb3-contrib algorithms as agents, each with the graph policy.

Fields are hyper-parameters: those named as in the library go to the algorithm, the others are explained here.
`hidden` and `layers` shape the network (`layers=0`: no message passing, actions are scored from their own features);
`num_envs` environments are played side by side; `reward` is that of the environment, divided by the deviation of the
returns while training if `scaled` (not for a single reward at the end); `episodes` are played when solving (the first
greedily), the best feasible solution counts; of a sealed problem (`Problem.sealed`) one episode.
`prior` names a feature of the candidates ("gain") or a product of some ("share*room"): the policy begins as the rule of
the largest, and learns what to add.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import Choices, Range, Search
from sysgym.core.problem import AnyProblem, Instance, Solution
from sysgym.core.registry import with_options
from sysgym.resources import limit_pools
from sysgym_agents.core import Budget, Callback
from sysgym_agents.learning.learner import StoredLearner, steady

if TYPE_CHECKING:
    from sysgym_agents.general.sb3.library import Library
    from sysgym_agents.general.sb3.training import Setup, Weights
    from sysgym_agents.learning.snapshot import Snapshot

Width = Annotated[int, Range(1, 4096)]  # of a network, or environments side by side
Depth = Annotated[int, Range(0, 64)]
Count = Annotated[int, Range(1, 10**7)]
Natural = Annotated[int, Range(0, 10**9)]
Several = Annotated[int, Range(2, 10**7)]
Rate = Annotated[float, Range(0, 1.7e308)]  # as large as a float
Share = Annotated[float, Range(0, 1)]
Pace = Annotated[Rate, Search(1e-4, 1e-2, log=True)]  # learning rates
Discount = Annotated[Share, Choices(0.9, 0.95, 0.98, 0.99, 0.995, 1.0)]
Trace = Annotated[Share, Choices(0.9, 0.95, 0.98, 1.0)]  # of advantages
Bonus = Annotated[Rate, Search(0.0, 0.05)]  # for entropy
Rollout = Annotated[Several, Choices(64, 128, 256, 512)]
Batch = Annotated[Several, Choices(64, 128, 256, 512)]
THIN = 16  # a network has at least hidden² weights, and hidden² / THIN for each of its layers


@dataclass(kw_only=True, eq=False)
class SB3Agent:
    """What all algorithms share, beside `StoredLearner`."""

    if TYPE_CHECKING:  # of `StoredLearner`
        hyper: ClassVar[Mapping[str, Any]]

    algorithm: ClassVar[str] = ""  # as the library names it
    options: ClassVar[Mapping[str, Any]] = {}  # options of the problem that this agent sets
    step: ClassVar[str] = "in training a step of an environment, in solving an episode, whose last state is judged"
    indivisible: ClassVar[str] = "in training an update on a rollout, in solving an episode, or 64 moves once it fits"

    hidden: Annotated[Width, Choices(32, 64, 128)] = 64
    layers: Depth = 2
    num_envs: Width = 8
    reward: Literal["improvement", "final", "log"] = "improvement"
    scaled: bool = True
    episodes: Annotated[int, Range(1, 10**4)] = 1
    learning_rate: Pace = 3e-4
    gamma: Discount = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[misc]
        self.steps = 0
        self._weights: Weights | None = None
        self._progress: Snapshot | None = None  # of the last fit
        self._resume: Snapshot | None = None  # for the next fit

    def library(self) -> Library:
        """The algorithm's class, its policy and buffer (imports torch)."""
        from sysgym_agents.general.sb3.library import LIBRARY

        return LIBRARY[self.algorithm]

    def prepare(self) -> None:
        """Import the library, what kernels need, and what the optimiser of a policy imports."""
        import torch._dynamo

        import sysgym.compiled
        from sysgym_agents.general.sb3 import training

        assert training is not None and sysgym.compiled is not None and torch is not None and self.library()
        limit_pools()

    def _keywords(self) -> dict[str, Any]:
        """Keywords of the algorithm: the fields that are not this class's, and the two that all take."""
        shared = {item.name for item in fields(SB3Agent)} - {"learning_rate", "gamma"}
        return {name: value for name, value in self.hyper.items() if name not in shared}

    def setup(self) -> Setup:
        """What the algorithm is built from."""
        from sysgym_agents.general.sb3.training import Setup

        return Setup(self.algorithm, self.library(), self.hidden, self.layers, self._keywords(), self.scaled,
                     self.num_envs, self.reward)  # fmt: skip

    def fit(
        self, problem: AnyProblem, instances: Sequence[Instance], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Train on instances until the budget (seconds or environment steps) is spent; goes on from loaded weights."""
        from sysgym_agents.general.sb3.training import Begin, train

        before, begin = self.steps, Begin(self._weights, self._resume)
        self._resume = None
        chosen = with_options(problem, **self.options)

        def publish(weights: Weights, steps: int, progress: Snapshot | None) -> None:
            self._weights, self.steps, self._progress = weights, before + steps, progress

        train(self.setup(), chosen, instances, rng, budget, begin, (publish, callback))

    def solve(self, problem: AnyProblem, instance: Instance, rng: np.random.Generator, budget: Budget) -> Solution:
        """Play the instance; with a budget, sampled episodes go on until it is spent."""
        from sysgym_agents.general.sb3.training import play

        chosen = with_options(problem, **self.options)
        with steady():
            return play(self.setup(), chosen, instance, rng, budget, self._weights, self.episodes)

    def save_training(self, path: Path) -> bool:
        """Write the state of the last `fit` into a folder, and whether there is one: off-policy algorithms have none.

        May be called from the callback of `fit`.
        """
        if self._progress is not None:
            self._progress.save(path)
        return self._progress is not None

    def load_training(self, path: Path, budget: Budget) -> bool:
        """Let the next `fit`, on the same problem and instances, go on exactly where `save_training` was called."""
        from sysgym_agents.learning.snapshot import Snapshot

        self._resume = Snapshot.load(path)
        return True  # whatever the budget: no schedule depends on it

    def forget(self, rng: np.random.Generator) -> bool:
        """Drop the weights: what solves draws its own, by its own seed."""
        self._weights = None
        return True

    def weights(self) -> Weights | None:
        """Those of the policy."""
        return self._weights

    def facts(self) -> dict[str, Any]:
        """Steps that it was trained for."""
        return {"steps": self.steps}

    def restore(self, facts: Mapping[str, Any], weights: Weights, path: Path) -> None:
        """Weights and steps."""
        steps = facts.get("steps")
        if type(steps) is not int or not 0 <= steps < 2**53:
            raise UsageError(f"{path}/agent.json must hold the number 'steps'; train the agent again.")
        held = sum(value.numel() for value in weights.values())
        if self.hidden**2 * max(self.layers, THIN) > THIN * held:  # no such network is built
            raise UsageError(
                f"{path}: model.safetensors does not fit agent.json, which says hidden={self.hidden} and "
                f"layers={self.layers}; save the agent again."
            )
        self._weights, self.steps = weights, steps

    def former_names(self) -> tuple[str, ...]:
        """Folders once named the algorithm."""
        return (self.algorithm,)


@dataclass(kw_only=True, eq=False)
class Clipped:
    """Hyper-parameters of PPO and its variants."""

    n_steps: Rollout = 128
    batch_size: Batch = 256
    n_epochs: Annotated[Count, Choices(2, 4, 8)] = 4
    gae_lambda: Trace = 0.95
    clip_range: Annotated[Rate, Search(0.1, 0.3)] = 0.2
    ent_coef: Bonus = 0.0


@dataclass(kw_only=True, eq=False)
class Guided:
    """A rule to begin with, for policies that score candidates."""

    begins: ClassVar[tuple[str, ...]] = ("prior",)

    prior: str = ""  # features of the candidates whose product the logits begin with, such as "gain" or "share*room"


@dataclass(kw_only=True, eq=False)
class PPO(Guided, Clipped, SB3Agent, StoredLearner):
    """Proximal policy optimisation (Schulman et al. 2017), masked through the observation."""

    name: ClassVar[str] = "ppo"
    algorithm: ClassVar[str] = "PPO"


@dataclass(kw_only=True, eq=False)
class MaskablePPO(Guided, Clipped, SB3Agent, StoredLearner):
    """PPO with invalid action masking (Huang and Ontanon 2020) from sb3-contrib."""

    name: ClassVar[str] = "maskable-ppo"
    algorithm: ClassVar[str] = "MaskablePPO"


@dataclass(kw_only=True, eq=False)
class RecurrentPPO(Clipped, SB3Agent, StoredLearner):
    """PPO with an LSTM over the context of the graph, from sb3-contrib; masked through the observation."""

    name: ClassVar[str] = "recurrent-ppo"
    algorithm: ClassVar[str] = "RecurrentPPO"


@dataclass(kw_only=True, eq=False)
class A2C(Guided, SB3Agent, StoredLearner):
    """Advantage actor-critic (Mnih et al. 2016)."""

    name: ClassVar[str] = "a2c"
    algorithm: ClassVar[str] = "A2C"
    learning_rate: Pace = 7e-4
    n_steps: Annotated[Several, Choices(8, 16, 32, 64)] = 16
    gae_lambda: Trace = 1.0
    ent_coef: Bonus = 0.0


@dataclass(kw_only=True, eq=False)
class TRPO(Guided, SB3Agent, StoredLearner):
    """Trust region policy optimisation (Schulman et al. 2015) from sb3-contrib."""

    name: ClassVar[str] = "trpo"
    algorithm: ClassVar[str] = "TRPO"
    learning_rate: Pace = 1e-3
    n_steps: Rollout = 128
    batch_size: Batch = 128
    gae_lambda: Trace = 0.95
    target_kl: Annotated[Rate, Search(1e-3, 0.05, log=True)] = 0.01


@dataclass(kw_only=True, eq=False)
class Replayed:
    """Hyper-parameters of deep Q-learning and its variants."""

    learning_rate: Pace = 1e-3
    num_envs: Width = 1
    buffer_size: Count = 10_000
    learning_starts: Natural = 500
    batch_size: Annotated[Several, Choices(32, 64, 128)] = 64
    train_freq: Annotated[Count, Choices(1, 4, 8)] = 4
    target_update_interval: Annotated[Count, Search(100, 5000, log=True)] = 500
    exploration_fraction: Annotated[Share, Search(0.05, 0.5)] = 0.2
    exploration_final_eps: Annotated[Share, Search(0.01, 0.2)] = 0.05


@dataclass(kw_only=True, eq=False)
class DQN(Replayed, SB3Agent, StoredLearner):
    """Deep Q-learning (Mnih et al. 2015); explores legal actions only. For Discrete actions."""

    name: ClassVar[str] = "dqn"
    algorithm: ClassVar[str] = "DQN"


@dataclass(kw_only=True, eq=False)
class QRDQN(Replayed, SB3Agent, StoredLearner):
    """Quantile-regression DQN (Dabney et al. 2018) from sb3-contrib. For Discrete actions."""

    name: ClassVar[str] = "qrdqn"
    algorithm: ClassVar[str] = "QRDQN"
    n_quantiles: Annotated[Width, Choices(10, 25, 50)] = 25
