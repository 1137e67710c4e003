"""Stable-Baselines3 and sb3-contrib algorithms as agents, each with the graph policy.

Fields are hyper-parameters: those named as in the library go to the algorithm, the others are explained here.
`hidden` and `layers` shape the network (`layers=0`: no message passing, actions are scored from their own features);
`num_envs` environments are played side by side; `reward` is that of the environment, divided by the deviation of the
returns while training if `scaled` (not for a single reward at the end); `episodes` are played when solving (the first
greedily), the best feasible solution counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.options import refuse_unknown
from sysgym.core.problem import Instance, Solution
from sysgym.core.registry import with_options
from sysgym_agents.core import Budget, Callback

if TYPE_CHECKING:
    from sysgym_agents.general.sb3.training import Setup, Trained
    from sysgym_agents.learning.snapshot import Snapshot


SHARES = ("gamma", "gae_lambda", "exploration_fraction", "exploration_final_eps")
# the least value of a whole number, where it is not 1
MAY_BE_ZERO = {"layers": 0, "learning_starts": 0, "pretrain": 0, "n_steps": 2, "batch_size": 2}


@dataclass(kw_only=True)
class SB3Agent:
    """What all algorithms share."""

    problems: ClassVar[tuple[str, ...]] = ()
    default_instances: ClassVar[str] = ""  # the problem's own
    default_budget: ClassVar[Budget] = Budget(seconds=60)
    needs_training: ClassVar[bool] = True  # an untrained policy answers, but at random
    algorithm: ClassVar[str] = ""
    options: ClassVar[dict[str, Any]] = {}  # options of the problem that this agent sets

    hidden: int = 64
    layers: int = 2
    num_envs: int = 8
    reward: str = "improvement"
    scaled: bool = True
    episodes: int = 1
    learning_rate: float = 3e-4
    gamma: float = 0.99

    def __post_init__(self) -> None:
        self._trained: Trained | None = None
        self._progress: Snapshot | None = None  # of the last fit
        self._resume: Snapshot | None = None  # for the next fit
        self.steps = 0
        for item in fields(self):
            value, least = getattr(self, item.name), MAY_BE_ZERO.get(item.name, 1)
            if isinstance(item.default, bool):
                if not isinstance(value, bool):
                    raise UsageError(f"{item.name} of {self.algorithm} must be true or false, got {value!r}.")
                continue
            if isinstance(item.default, int) and (not isinstance(value, int) or value < least):
                raise UsageError(f"{item.name} of {self.algorithm} must be a whole number from {least}, got {value!r}.")
            if isinstance(item.default, float) and not (isinstance(value, int | float) and 0 <= value < math.inf):
                raise UsageError(f"{item.name} of {self.algorithm} must be a number from 0, got {value!r}.")
            if item.name in SHARES and value > 1:
                raise UsageError(f"{item.name} of {self.algorithm} must be a number from 0 to 1, got {value!r}.")

    def _keywords(self) -> dict[str, Any]:
        """Keywords of the algorithm: the fields that are not this class's, and the two that all take."""
        shared = {item.name for item in fields(SB3Agent)} - {"learning_rate", "gamma"}
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in shared}

    def fit(
        self, problem: Any, instances: Sequence[Instance], rng: np.random.Generator, budget: Budget,
        callback: Callback | None = None,
    ) -> None:  # fmt: skip
        """Train on instances until the budget (seconds or environment steps) is spent; goes on from loaded weights."""
        from sysgym_agents.general.sb3.training import train

        before, state, self._resume = self.steps, self._resume, None

        def publish(trained: Trained, steps: int, progress: Snapshot | None) -> None:
            self._trained, self.steps, self._progress = trained, before + steps, progress

        train(
            self._setup(), with_options(problem, **self.options), instances, self.num_envs, self.reward, rng, budget,
            callback, publish, self._trained, state,
        )  # fmt: skip

    def _setup(self) -> Setup:
        from sysgym_agents.general.sb3.training import Setup

        return Setup(self.algorithm, self.hidden, self.layers, self._keywords(), self.scaled)

    def solve(self, problem: Any, instance: Instance, rng: np.random.Generator, budget: Budget) -> Solution:
        """Play the instance; with a time budget, sampled episodes go on until it is spent."""
        from sysgym_agents.general.sb3.training import play

        options = with_options(problem, **self.options)
        return play(self._setup(), options, instance, rng, budget, self._trained, self.episodes)

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

    def save(self, path: Path) -> None:
        """Write `agent.json` and `model.safetensors` into a folder."""
        if self._trained is None:
            raise UsageError("this agent has not been trained, there is nothing to save; call fit first.")
        path.mkdir(parents=True, exist_ok=True)
        description = {"algorithm": self.algorithm, "hyper": asdict(self), "steps": self.steps}
        (path / "agent.json").write_text(json.dumps(description, indent=1) + "\n")
        self._trained.save(path / "model.safetensors")

    def load(self, path: Path) -> None:
        """Read what `save` wrote: hyper-parameters and weights."""
        from safetensors import SafetensorError

        from sysgym_agents.general.sb3.training import Trained

        try:
            description = json.loads((path / "agent.json").read_text())
            algorithm, hyper, steps = description["algorithm"], description["hyper"], int(description["steps"])
            trained = Trained.load(path / "model.safetensors")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UsageError(
                f"{path} holds no usable agent ({type(error).__name__}: {error}); train it again."
            ) from error
        if algorithm != self.algorithm:
            raise UsageError(f"{path} holds a {algorithm} agent, not {self.algorithm}.")
        refuse_unknown(f"agent {algorithm}", type(self), hyper)
        for name, value in hyper.items():
            setattr(self, name, value)
        self.__post_init__()
        self._trained, self.steps = trained, steps


@dataclass(kw_only=True)
class PPO(SB3Agent):
    """Proximal policy optimisation (Schulman et al. 2017), masked through the observation."""

    algorithm: ClassVar[str] = "PPO"
    n_steps: int = 128
    batch_size: int = 256
    n_epochs: int = 4
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.0


@dataclass(kw_only=True)
class MaskablePPO(PPO):
    """PPO with invalid action masking (Huang and Ontanon 2020) from sb3-contrib."""

    algorithm: ClassVar[str] = "MaskablePPO"


@dataclass(kw_only=True)
class RecurrentPPO(PPO):
    """PPO with an LSTM over the context of the graph, from sb3-contrib; masked through the observation."""

    algorithm: ClassVar[str] = "RecurrentPPO"


@dataclass(kw_only=True)
class A2C(SB3Agent):
    """Advantage actor-critic (Mnih et al. 2016)."""

    algorithm: ClassVar[str] = "A2C"
    learning_rate: float = 7e-4
    n_steps: int = 16
    gae_lambda: float = 1.0
    ent_coef: float = 0.0


@dataclass(kw_only=True)
class TRPO(SB3Agent):
    """Trust region policy optimisation (Schulman et al. 2015) from sb3-contrib."""

    algorithm: ClassVar[str] = "TRPO"
    learning_rate: float = 1e-3
    n_steps: int = 128
    batch_size: int = 128
    gae_lambda: float = 0.95
    target_kl: float = 0.01


@dataclass(kw_only=True)
class DQN(SB3Agent):
    """Deep Q-learning (Mnih et al. 2015); explores legal actions only. For Discrete actions."""

    algorithm: ClassVar[str] = "DQN"
    learning_rate: float = 1e-3
    num_envs: int = 1
    buffer_size: int = 10_000
    learning_starts: int = 500
    batch_size: int = 64
    train_freq: int = 4
    target_update_interval: int = 500
    exploration_fraction: float = 0.2
    exploration_final_eps: float = 0.05


@dataclass(kw_only=True)
class QRDQN(DQN):
    """Quantile-regression DQN (Dabney et al. 2018) from sb3-contrib. For Discrete actions."""

    algorithm: ClassVar[str] = "QRDQN"
    n_quantiles: int = 25


@dataclass(kw_only=True)
class PPOPlace(MaskablePPO):
    """MaskablePPO that places macros one by one (`mode="sequential"`), scoring each cell by what it is like there."""

    problems: ClassVar[tuple[str, ...]] = ("ChipPlacement",)
    options: ClassVar[dict[str, Any]] = {"mode": "sequential", "orient": False}
    hidden: int = 32
    layers: int = 0
    reward: str = "final"
    scaled: bool = False
    learning_rate: float = 1e-3
    gamma: float = 1.0
    gae_lambda: float = 1.0
    n_steps: int = 133
    batch_size: int = 266
    ent_coef: float = 0.01
