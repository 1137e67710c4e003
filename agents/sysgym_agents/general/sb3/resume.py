"""The whole state of an on-policy training between two rollouts.

A training that goes on from it takes the very steps that the uninterrupted one would have taken, given the same
versions, threads and hardware. Episodes under way are kept as their actions and played again.
"""

from __future__ import annotations

import operator
import random
from collections import deque
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecNormalize

from sysgym.core.errors import UsageError
from sysgym_agents.general.sb3.vectors import SB3VectorEnv
from sysgym_agents.learning.snapshot import Snapshot, learner_tensors, put_learner


def capture(model: Any) -> Snapshot:
    """The state of an SB3 on-policy model between two rollouts; its environment is a normalised `SB3VectorEnv`."""
    normaliser: VecNormalize = model.get_vec_normalize_env()
    env: SB3VectorEnv = normaliser.venv  # type: ignore[assignment]
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    tensors = learner_tensors(model.policy, model.policy.optimizer)
    tensors["random/torch"] = torch.get_rng_state()
    tensors["random/numpy"] = torch.from_numpy(np.asarray(keys, np.int64))
    states = getattr(model, "_last_lstm_states", None)
    if states is not None:
        tensors |= {f"lstm/{i}": part.cpu().clone() for i, part in enumerate([*states.pi, *states.vf])}
    episodes = env.vector.get_state()
    for row, episode in enumerate(episodes):
        tensors[f"episode/{row}"] = torch.from_numpy(episode.pop("actions"))
    facts = {
        "steps": int(model.num_timesteps),
        "updates": int(model._n_updates),
        "episodes": episodes,
        "returns": env.returns.tolist(),
        "lengths": env.lengths.tolist(),
        "starts": [bool(flag) for flag in model._last_episode_starts],
        "finished": list(model.ep_info_buffer),
        "normaliser": {
            "mean": float(normaliser.ret_rms.mean), "var": float(normaliser.ret_rms.var),
            "count": float(normaliser.ret_rms.count), "returns": normaliser.returns.tolist(),
        },
        "numpy": [name, int(position), int(has_gauss), float(gauss)],
        "python": random.getstate(),
    }  # fmt: skip
    return Snapshot(tensors, facts)


def restore(model: Any, snapshot: Snapshot) -> None:
    """Put a snapshot into a fresh model of the same hyper-parameters, problem and instances."""
    try:
        _restore(model, snapshot)
    except Exception as error:  # it may be anything
        why = " ".join(str(error).split())
        raise UsageError(
            f"the saved state of the training does not fit this agent and problem ({why}); train anew."
        ) from error


def _row(values: Any, env: SB3VectorEnv) -> Any:
    """A number for each environment, (B,) float64; ValueError for anything else."""
    found = np.array(values, np.float64)
    if found.shape != (env.num_envs,):
        raise ValueError(f"numbers of shape {found.shape} for {env.num_envs} environments")
    return found


def _episode(told: dict[str, Any]) -> dict[str, Any]:
    """A finished episode, what it measured as numbers; ValueError for a ratio that is none."""
    found = {**told, "r": float(told["r"]), "l": operator.index(told["l"])}
    found |= {key: float(told[key]) for key in ("cost", "ratio") if key in told}
    if not 0 <= found.get("ratio", 1.0) < np.inf or (found.get("feasible") and "cost" not in found):
        raise ValueError(f"an episode that ended with {told}")
    return found


def _restore(model: Any, snapshot: Snapshot) -> None:
    tensors, facts = snapshot
    normaliser: VecNormalize = model.get_vec_normalize_env()
    env: SB3VectorEnv = normaliser.venv  # type: ignore[assignment]
    put_learner(snapshot, model.policy, model.policy.optimizer)
    episodes = [
        {**episode, "actions": tensors[f"episode/{row}"].numpy()} for row, episode in enumerate(facts["episodes"])
    ]
    model._last_obs = env.resume(episodes)
    model._last_original_obs = model._last_obs
    env.returns[:], env.lengths[:] = _row(facts["returns"], env), _row(facts["lengths"], env)
    model._last_episode_starts = _row(facts["starts"], env).astype(bool)
    model.ep_info_buffer = deque(map(_episode, facts["finished"]), maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    memory = [tensors[f"lstm/{i}"].to(model.device) for i in range(4) if f"lstm/{i}" in tensors]
    if memory:
        kind = type(model._last_lstm_states)
        model._last_lstm_states = kind(tuple(memory[:2]), tuple(memory[2:]))
    saved = facts["normaliser"]
    normaliser.ret_rms.mean, normaliser.ret_rms.var = np.float64(saved["mean"]), np.float64(saved["var"])
    normaliser.ret_rms.count, normaliser.returns = float(saved["count"]), _row(saved["returns"], env)
    model.num_timesteps, model._n_updates = operator.index(facts["steps"]), operator.index(facts["updates"])
    name, position, has_gauss, gauss = facts["numpy"]
    keys = tensors["random/numpy"].numpy().astype(np.uint32)
    np.random.set_state((name, keys, position, has_gauss, gauss))  # noqa: NPY002
    torch.set_rng_state(tensors["random/torch"])
    version, words, following = facts["python"]
    random.setstate((version, tuple(words), following))
