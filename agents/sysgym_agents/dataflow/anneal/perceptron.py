"""The perceptron that scores moves: its numbers, what it proposes, and its training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sysgym.core.problem import Array
from sysgym_agents.dataflow.anneal.proposals import KINDS, Proposer
from sysgym_agents.dataflow.anneal.schedule import FEATURES, Schedule, features

if TYPE_CHECKING:
    from sysgym.dataflow.features import Work
    from sysgym_agents.dataflow.anneal.labels import Samples

BATCH = 32  # placements of an update
TOLD = 50  # updates between two reports
FAR = 8.0  # deviations beyond which an input counts no more


class Perceptron(NamedTuple):
    """24 inputs, one hidden layer, three scores; all float32."""

    mean: Array  # (24,) of the inputs
    deviation: Array  # (24,)
    first: Array  # (24, H)
    first_bias: Array  # (H,)
    second: Array  # (H, 3)
    second_bias: Array  # (3,)


def spread(values: Array) -> Array:
    """Features with small values drawn apart: sign times log(1 + 100 |x|) / 3."""
    return np.sign(values) * np.log1p(100 * np.abs(values)) / 3


def scaled(net: Perceptron, values: Array) -> Array:
    """Features (..., 24) as the layers take them, float32."""
    return np.clip((spread(values) - net.mean) / net.deviation, -FAR, FAR).astype(np.float32)


def scores(net: Perceptron, values: Array) -> Array:
    """Scores (..., 3) of features (..., 24): of a relocation, a stretch and a layer."""
    found: Array = np.tanh(scaled(net, values) @ net.first + net.first_bias) @ net.second + net.second_bias
    return found


def proposer(net: Perceptron, sharpness: float) -> Proposer:
    """Weights exp(sharpness * score)."""

    def propose(schedule: Schedule, work: Work) -> Array:
        found = sharpness * scores(net, features(schedule, work)).astype(np.float64)
        return np.moveaxis(np.exp(np.clip(found, -300.0, 300.0)), 2, 0)

    return propose


def fresh(hidden: int, mean: Array, deviation: Array, rng: np.random.Generator) -> Perceptron:
    """Layers as torch draws them."""
    inputs = len(FEATURES)
    one, two = 1 / np.sqrt(inputs), 1 / np.sqrt(hidden)

    def drawn(shape: tuple[int, ...], bound: float) -> Array:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    return Perceptron(mean, deviation, drawn((inputs, hidden), one), drawn((hidden,), one),
                      drawn((hidden, KINDS), two), drawn((KINDS,), two))  # fmt: skip


def merged(nets: list[Perceptron]) -> Perceptron:
    """One that scores as several of equal scaling do on average."""
    return Perceptron(
        nets[0].mean, nets[0].deviation, np.concatenate([net.first for net in nets], axis=1),
        np.concatenate([net.first_bias for net in nets]),
        np.concatenate([net.second for net in nets]) / np.float32(len(nets)),
        np.asarray(np.mean([net.second_bias for net in nets], axis=0), np.float32),
    )  # fmt: skip


def trained(
    found: list[Samples], how: tuple[int, float, float, int], seed: int, told: Callable[[float, Perceptron], bool]
) -> tuple[Perceptron, bool]:
    """A perceptron that tells which of the moves of a placement save most, and whether it was trained to the end.

    how: its width, the power of the savings, the learning rate, updates. The probabilities that its scores give to the
    moves of a placement are drawn, by cross entropy, to shares in proportion to the savings' power; placements without
    a move that saves are left out. `told` gets the mean loss and the perceptron at times, and says whether to go on.
    """
    import torch

    hidden, power, learning_rate, updates = how
    rng = np.random.default_rng(seed)
    inputs = np.stack([each.inputs for each in found])
    mean, deviation = (each(spread(inputs), axis=(0, 1)).astype(np.float32) for each in (np.mean, np.std))
    net = fresh(hidden, mean, deviation + np.float32(1e-6), rng)
    gain = np.maximum(np.stack([each.gain for each in found]), 0.0)
    helpful = np.flatnonzero(gain.any(axis=1))
    if not len(helpful):
        return net, True
    x = torch.from_numpy(scaled(net, inputs[helpful]))
    kind = torch.from_numpy(np.stack([found[i].kind for i in helpful]))[:, :, None]
    share = np.where(gain[helpful] > 0, gain[helpful] ** power, 0.0)
    target = torch.from_numpy((share / share.sum(axis=1, keepdims=True)).astype(np.float32))
    layers = [torch.from_numpy(each.copy()).requires_grad_() for each in net[2:]]
    adam = torch.optim.Adam(layers, learning_rate, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, learning_rate, total_steps=updates)
    losses: list[float] = []
    for update in range(updates):
        rows = torch.from_numpy(rng.integers(len(helpful), size=BATCH))
        score = torch.tanh(x[rows] @ layers[0] + layers[1]) @ layers[2] + layers[3]
        chosen = score.gather(2, kind[rows])[:, :, 0]
        loss = -(torch.log_softmax(chosen, dim=1) * target[rows]).sum(dim=1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if len(losses) == TOLD or update == updates - 1:
            net = Perceptron(mean, net.deviation, *(each.detach().numpy().copy() for each in layers))
            if not told(float(np.mean(losses)), net):
                return net, update == updates - 1
            losses.clear()
    return net, True
