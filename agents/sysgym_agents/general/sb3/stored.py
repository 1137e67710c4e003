"""Models that a user trained and saved with Stable-Baselines3 or sb3-contrib, as agents: `--agent model.zip`.

As in those libraries, opening such a file runs the code in it: open your own only.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError, reading
from sysgym.core.problem import AnyProblem, Instance, Solution
from sysgym_agents.core import Budget
from sysgym_agents.learning.devices import device_for

SUFFIX = ".zip"


class StoredModel:
    """A saved model plays episodes, the first greedily; the best feasible solution counts.

    The problem must have the options that it was trained with, its action mode above all; graphs are padded to the size
    that it knows. Observations may be those of the environment, in any form, or flattened by `FlattenObservation` or
    `FlattenGraph`.
    """

    problems: tuple[str, ...] = ()
    step = "an episode, whose last state is judged"
    indivisible = "an episode, or 64 moves once its answer is feasible"
    path: Path  # of the file

    def __init__(self, *, episodes: int = 1) -> None:
        if episodes < 1:
            raise UsageError(f"episodes of agent {str(self.path)!r} must be at least 1, got {episodes}.")
        self.episodes = episodes
        self._model: Any = None

    def prepare(self) -> None:
        """Open the file, which imports torch."""
        if self._model is None:
            self._model = open_model(self.path)

    def solve(self, problem: AnyProblem, instance: Instance, rng: np.random.Generator, budget: Budget) -> Solution:
        """The best of the episodes that the budget allows; UsageError where the model knows other observations."""
        import torch
        from sb3_contrib import MaskablePPO

        from sysgym_agents.general.sb3.training import play_episodes
        from sysgym_agents.learning.learner import steady

        self.prepare()
        model = self._model
        env, flat = fitting_env(model, problem, instance, self.path)
        masked = isinstance(model, MaskablePPO)

        def act(observation: Any, state: Any, first: bool, greedy: bool) -> tuple[Any, Any]:
            given = observation if flat is None else flat.observation(observation)
            more = {"action_masks": env.action_masks()} if masked else {}
            return model.predict(given, state, np.array([first]), deterministic=greedy, **more)  # type: ignore[no-any-return]

        with steady(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.spawn(1)[0].integers(2**31)))
            return play_episodes(env, act, rng, budget, self.episodes)


def stored_class(path: Path) -> type[StoredModel]:
    """The agent of a file; UsageError where it is none of a saved model."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = {"data", "policy.pth"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read as a model of Stable-Baselines3 ({error}).") from error
    if not found:
        raise UsageError(f"{path} is no model of Stable-Baselines3: it lacks 'data' or 'policy.pth'; use model.save.")
    return type("StoredModel", (StoredModel,), {"path": path, "__doc__": StoredModel.__doc__})


def open_model(path: Path) -> Any:
    """The model of a file, of the algorithm that its policy belongs to."""
    import sb3_contrib
    import stable_baselines3
    from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
    from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
    from sb3_contrib.qrdqn.policies import QRDQNPolicy
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.save_util import load_from_zip_file
    from stable_baselines3.dqn.policies import DQNPolicy

    algorithms = {
        MaskableActorCriticPolicy: sb3_contrib.MaskablePPO, RecurrentActorCriticPolicy: sb3_contrib.RecurrentPPO,
        QRDQNPolicy: sb3_contrib.QRDQN, DQNPolicy: stable_baselines3.DQN,
    }  # fmt: skip
    with reading(f"the model of Stable-Baselines3 {path}"):
        data = load_from_zip_file(path, device="cpu")[0] or {}
        policy = data.get("policy_class")
        if not isinstance(policy, type):
            raise UsageError(f"{path} does not say the class of its policy; save the model again.")
        kinds = [algorithm for kind, algorithm in algorithms.items() if issubclass(policy, kind)]
        if not kinds and not issubclass(policy, ActorCriticPolicy):
            raise UsageError(f"{path} holds a {policy.__name__}, which acts in no problem here; use PPO, DQN and such.")
        a2c = "clip_range" not in data and "cg_max_steps" not in data
        plain = sb3_contrib.TRPO if "cg_max_steps" in data else stable_baselines3.A2C if a2c else stable_baselines3.PPO
        return (kinds[0] if kinds else plain).load(path, device=device_for(0))


def fitting_env(model: Any, problem: AnyProblem, instance: Instance, path: Path) -> tuple[Any, Any]:
    """An environment of the instance with the observations that a model knows, and what flattens them or None."""
    from gymnasium import spaces
    from gymnasium.wrappers import FlattenObservation

    from sysgym.core.env import ProblemEnv
    from sysgym.core.observation import FORMS
    from sysgym.wrappers import FlattenGraph

    known = model.observation_space
    named: Any = known.spaces if isinstance(known, spaces.Dict) else {}
    size = problem.size(instance)
    limits: Any = {}
    for key, name, has in (
        ("nodes", "max_nodes", size.nodes), ("dynamic", "max_nodes", size.nodes), ("edges", "max_edges", size.edges),
    ):  # fmt: skip
        if key in named:
            limits[name] = most = int(named[key].shape[0])
            if has > most:
                raise UsageError(
                    f"{path} was trained on observations of at most {most} {'directed ' * (key == 'edges')}"
                    f"{name.removeprefix('max_')}, {instance.name} has {has}; train with a larger {name}."
                )
    form = next((form for form, key in (("full", "nodes"), ("dynamic", "dynamic")) if key in named), "raw")
    for obs in [form] if named else FORMS:
        env = ProblemEnv(problem, instance=instance, obs=obs, **limits)
        for flat in [None] if named else [FlattenObservation(env), FlattenGraph(env)]:
            shown = env.observation_space if flat is None else flat.observation_space
            if shown == known and env.action_space == model.action_space:
                return env, flat
    wanted = {key: space.shape for key, space in named.items()} or known.shape
    got = {key: space.shape for key, space in env.observation_space.spaces.items()} if named else "none such"
    if isinstance(wanted, dict) and isinstance(got, dict):
        wanted, got = ({k: v for k, v in each.items() if wanted.get(k) != got.get(k)} for each in (wanted, got))
    raise UsageError(
        f"{path} was trained on observations {wanted} with actions {model.action_space}, {problem.name} with these "
        f"options has {got} with actions {env.action_space}; give the options that it was trained with, such as "
        "-O mode=..., and an instance no larger than it knows."
    )
