"""What trainings by evolution strategies share (Salimans et al. 2017), whose weights are one array of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym_agents.learning.snapshot import Snapshot


class Setting(NamedTuple):
    """Numbers of a training."""

    learning_rate: float
    sigma: float  # how far numbers are changed to feel the slope
    pairs: int  # changes of a step, each tried in both directions
    batch: int  # instances that each is tried on
    iterations: int


class Evolution(Protocol):
    """A training between two steps, whose draws hang on the seed and the step alone."""

    setting: Setting
    done: int
    seed: int


def snapshot(training: Evolution, names: Sequence[str]) -> Snapshot:
    """The training as it stands; `names` are its arrays."""
    arrays = {name: torch.from_numpy(getattr(training, name).copy()) for name in names}
    return Snapshot(arrays, {"iterations": training.setting.iterations, "done": training.done, "seed": training.seed})


def restore(training: Evolution, names: Sequence[str], found: Snapshot) -> None:
    """Let it go on from a snapshot of the same setting and instances; ValueError where shapes differ."""
    for name in names:
        value = found.tensors[name].numpy()
        if value.shape != getattr(training, name).shape:
            raise ValueError(f"{name} holds {value.shape} numbers")
        setattr(training, name, value.copy())
    training.done, training.seed = int(found.facts["done"]), int(found.facts["seed"])


def redrawn(theta: Array, rng: np.random.Generator) -> Array:
    """Numbers of the same shape and length in a random direction."""
    drawn = rng.normal(size=theta.shape)
    return np.asarray(drawn * (np.linalg.norm(theta) / np.linalg.norm(drawn)))


def stored_weights(theta: Array | None) -> dict[str, torch.Tensor] | None:
    """What is saved of the numbers; None if there are none."""
    return None if theta is None else {"theta": torch.from_numpy(theta.copy())}


def numbers(weights: Mapping[str, Any], shape: tuple[int, ...], path: Path) -> Array:
    """The numbers in saved weights, float64; UsageError if they have another shape."""
    found = weights.get("theta")
    if set(weights) != {"theta"} or found is None or tuple(found.shape) != shape:
        size = " x ".join(map(str, shape))
        raise UsageError(f"{path}: model.safetensors must hold 'theta' of {size} numbers; save the agent again.")
    return np.asarray(found.double().numpy().copy())
