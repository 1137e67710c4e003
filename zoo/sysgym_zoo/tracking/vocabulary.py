"""One vocabulary of scalars over all learners: what a number of a training is called, whoever trains.

A learner's callback may say plain words (`loss`, `entropy`); `named` gives them their names where a run writes them
down, so that learners of other packages share the vocabulary without knowing it. Stable-Baselines3's tags are kept.
Applied to a row that has its names already, it changes nothing: rows of older runs are read through it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AXES = ("steps", "seconds", "cpu_seconds", "epochs")  # how far a training is: columns of every row, no scalars

VOCABULARY = {
    "rollout/ep_rew_mean": "mean return of the last episodes, or rewards of the last update",
    "rollout/ep_rew_min": "least return of the last episodes",
    "rollout/ep_rew_max": "largest return of the last episodes",
    "rollout/ep_len_mean": "mean length of the last episodes, in steps",
    "sysgym/cost": "mean cost of the feasible answers that training made last, as the problem judges it",
    "sysgym/cost_ratio": "their cost over that of a reference (geometric mean), or of the one that the learner names",
    "sysgym/best": "least cost among them",
    "sysgym/best_ratio": "least cost so far over that of the reference that the learner names",
    "sysgym/feasible": "share of the last answers that are feasible",
    "eval/cost": "mean cost of the feasible answers of an evaluation during training",
    "eval/ratio": "geometric mean of their ratios to reference costs",
    "eval/feasible": "share of the evaluation's answers that are feasible",
    "train/loss": "loss of the last update, or the mean since the last row",
    "train/learning_rate": "learning rate of the optimiser",
    "train/grad_norm": "norm of the gradient before it is clipped",
    "train/n_updates": "updates so far",
    "train/entropy": "entropy of the policy, in nats",
    "train/entropy_loss": "minus the entropy of the policy, as Stable-Baselines3 logs it",
    "train/value_loss": "loss of the value function",
    "train/policy_loss": "loss of the policy",
    "train/policy_gradient_loss": "clipped surrogate loss of the policy",
    "train/policy_objective": "surrogate objective of a trust region step",
    "train/kl_divergence_loss": "mean divergence of a trust region step",
    "train/is_line_search_success": "share of line searches that found a step",
    "train/approx_kl": "estimated divergence between the old policy and the new",
    "train/clip_fraction": "share of the ratios that were clipped",
    "train/clip_range": "range to which ratios are clipped",
    "train/explained_variance": "share of the returns' variance that the value function explains",
    "train/accuracy": "share of the imitated choices that are the likeliest",
    "train/error": "error of what is predicted, as the learner defines it",
    "train/ncut": "expected normalised cut of the batch",
    "train/imbalance": "expected imbalance of the batch's parts",
    "train/contrastive": "contrastive loss while an embedding is learnt",
    "train/tokens": "tokens of a batch",
    "pretrain/explained": "share of the labels' variance that pre-training explains on held-out answers",
    "time/time_elapsed": "wall seconds that the training took so far",
    "time/fps": "steps a second so far",
}  # fmt: skip

WORDS = {  # plain words that learners say; any other without a group is of the group `train`
    "return": "rollout/ep_rew_mean", "reward": "rollout/ep_rew_mean",
    "cost": "sysgym/cost", "cost_ratio": "sysgym/cost_ratio", "feasible": "sysgym/feasible",
    "best": "sysgym/best", "best_ratio": "sysgym/best_ratio",
    "right": "train/accuracy", "rate": "train/learning_rate",
    "rollout/cost": "sysgym/cost", "rollout/ratio": "sysgym/cost_ratio", "rollout/best": "sysgym/best",
    "rollout/feasible": "sysgym/feasible",
}  # fmt: skip


def name_of(word: str) -> str:
    """What a metric is called.

    >>> name_of("loss"), name_of("rollout/ratio"), name_of("steps"), name_of("train/loss")
    ('train/loss', 'sysgym/cost_ratio', 'steps', 'train/loss')
    """
    if word in AXES:
        return word
    return WORDS.get(word) or (word if "/" in word else f"train/{word}")


def named(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a training's metrics under the names of the vocabulary, in its order; of two words for one thing the
    first counts.

    >>> named({"steps": 3, "loss": 0.5, "return": 1.0, "reward": 2.0})
    {'steps': 3, 'train/loss': 0.5, 'rollout/ep_rew_mean': 1.0}
    """
    found: dict[str, Any] = {}
    for word, value in row.items():
        found.setdefault(name_of(word), value)
    return found


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a named row for trackers: of its axes, those of `time/`.

    >>> scalars({"steps": 3, "seconds": 1.5, "train/loss": 0.5, "note": "x"})
    {'train/loss': 0.5, 'time/time_elapsed': 1.5, 'time/fps': 2.0}
    """
    found = {key: float(value) for key, value in row.items() if isinstance(value, int | float) and key not in AXES}
    seconds = float(row.get("seconds") or 0.0)
    return found | ({"time/time_elapsed": seconds, "time/fps": row["steps"] / seconds} if seconds > 0 else {})


def scalar_rows() -> list[dict[str, str]]:
    """The table of the vocabulary."""
    return [{"scalar": name, "what it is": about} for name, about in VOCABULARY.items()]
