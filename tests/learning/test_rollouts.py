"""Cheap rollouts are the same rollouts: the adapter against DummyVecEnv, packed buffers against SB3's, bit by bit."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import sb3_contrib
import stable_baselines3
import torch
from gymnasium.vector import AutoresetMode
from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sysgym import UsageError
from sysgym.core.env import ProblemEnv
from sysgym.core.vector import ProblemVectorEnv
from sysgym_agents.general.sb3.buffers import GraphRolloutBuffer, MaskableGraphRolloutBuffer, PackedObservations
from sysgym_agents.general.sb3.policies import GraphMaskablePolicy, GraphPolicy
from sysgym_agents.general.sb3.vectors import SB3VectorEnv

INSTANCES = ["tiny/grid-train", "tiny/delaunay-train", "tiny/grid-valid"]
MODES: dict[str, dict[str, Any]] = {
    "assign": {"mode": "assign", "k": 3, "eps": 0.1},
    "refine": {"mode": "refine", "k": 3, "eps": 0.1, "steps": 11},
    "raw": {"mode": "refine", "moves": "raw", "k": 3, "eps": 0.1, "steps": 11},
}


def native(num_envs: int, **options: Any) -> SB3VectorEnv:
    vector = ProblemVectorEnv(
        num_envs, "Partitioning", instances=INSTANCES, autoreset_mode=AutoresetMode.SAME_STEP, **options
    )
    return SB3VectorEnv(vector)


def legal_actions(masks: Any, space: gym.Space[Any], rng: np.random.Generator) -> Any:
    chosen = []
    for mask in masks:
        if isinstance(space, gym.spaces.Discrete):
            chosen.append(rng.choice(np.flatnonzero(mask)))
        else:
            ends = np.cumsum(space.nvec)  # type: ignore[attr-defined]
            chosen.append([rng.choice(np.flatnonzero(part)) for part in np.split(mask, ends[:-1])])
    return np.array(chosen)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", ["full", "dynamic"])
def test_adapter_equals_dummy_vec_env(mode: str, form: str) -> None:
    options = {"obs": form, **MODES[mode]}
    dummy = DummyVecEnv([lambda: Monitor(ProblemEnv("Partitioning", instances=INSTANCES, **options))] * 3)
    mine = native(3, **options)
    assert mine.observation_space == dummy.observation_space and mine.action_space == dummy.action_space
    for env in (dummy, mine):
        env.seed(5)
    pair = [dummy.reset(), mine.reset()]
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(150):
        for key in pair[0]:
            assert pair[0][key].dtype == pair[1][key].dtype
            assert np.array_equal(pair[0][key], pair[1][key]), key
        masks = np.stack(dummy.env_method("action_masks"))
        assert np.array_equal(masks, np.stack(mine.env_method("action_masks")))
        actions = legal_actions(masks, mine.action_space, rng)
        found = [env.step(actions) for env in (dummy, mine)]
        pair = [found[0][0], found[1][0]]
        assert found[0][1].dtype == found[1][1].dtype and np.array_equal(found[0][1], found[1][1])
        assert np.array_equal(found[0][2], found[1][2])
        for a, b in zip(found[0][3], found[1][3], strict=True):
            assert ("episode" in a) == ("episode" in b)  # the adapter tells nothing of other steps
            if "episode" in a:
                ends += 1
                assert all(a[key] == b[key] for key in ("illegal", "judged"))
                assert not a["judged"] or {key: a["verdict"][key] for key in b["verdict"]} == b["verdict"]
                assert a["episode"]["l"] == b["episode"]["l"]
                assert a["episode"]["r"] == pytest.approx(b["episode"]["r"], abs=1e-5)
                for key, value in a["terminal_observation"].items():
                    assert np.array_equal(value, b["terminal_observation"][key])
    assert ends > 3


def test_adapter_wants_same_step_and_explains_what_it_cannot_do() -> None:
    with pytest.raises(UsageError, match="autoreset_mode=SAME_STEP"):
        SB3VectorEnv(ProblemVectorEnv(2, "Partitioning", instance="tiny/grid-train"))
    env = native(2, **MODES["assign"])
    assert env.has_attr("action_masks") and not env.has_attr("no_such_thing")
    with pytest.raises(UsageError, match="the method here is action_masks"):
        env.env_method("solution")
    with pytest.raises(UsageError, match="share their attributes"):
        env.set_attr("position", 1)


@pytest.mark.parametrize("mode", [*MODES, "oneshot"])
@pytest.mark.parametrize("autoreset", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_a_vector_environment_keeps_the_actions_of_episodes_under_way_only(mode: str, autoreset: AutoresetMode) -> None:
    """Some episodes are cut short by an illegal action, so that rows are at different steps."""
    options = MODES.get(mode, {"mode": mode})
    env = ProblemVectorEnv(3, "Partitioning", instances=INSTANCES, autoreset_mode=autoreset, **options)
    env.reset(seed=3)
    rng = np.random.default_rng(1)
    ages, over = np.zeros(3, int), np.zeros(3, bool)  # steps of each row's episode
    for step in range(600):
        actions = legal_actions(env.action_masks(), env.single_action_space, rng)
        if step % 20 == 5:
            actions[step % 3] = -1
        ended = env.step(actions)[2]
        ages = np.where(over, 0, ages + 1)
        if autoreset is AutoresetMode.SAME_STEP:
            ages[ended] = 0
        else:
            over = ended
        assert env._replay is not None and len(env._replay._played) == ages.max()
        if step % 50 == 7:
            played = [len(row["actions"]) for row in env.get_state()]
            assert played == (ages - (over & (actions < 0).reshape(3, -1).any(1))).tolist()


def rollout(buffer: Any, env: Any, algorithm: str) -> None:
    """The same arrays into any buffer."""
    rng = np.random.default_rng(2)
    env.seed(1)
    obs = env.reset()
    starts = np.ones(env.num_envs)
    for _ in range(buffer.buffer_size):
        masks = np.stack(env.env_method("action_masks"))
        actions = legal_actions(masks, env.action_space, rng)
        values, logs = (torch.from_numpy(rng.random(env.num_envs).astype(np.float32)) for _ in range(2))
        shown, rewards, ends, _ = env.step(actions)
        extra = {"action_masks": masks} if algorithm == "MaskablePPO" else {}
        flat = actions.reshape(env.num_envs, -1)
        buffer.add(obs, flat, rewards, starts, values, logs, **extra)
        obs, starts = shown, ends
    buffer.compute_returns_and_advantage(torch.zeros(env.num_envs), starts)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("form", ["full", "dynamic"])
@pytest.mark.parametrize("algorithm", ["PPO", "MaskablePPO"])
def test_packed_buffer_gives_the_samples_of_sb3s(mode: str, form: str, algorithm: str) -> None:
    classes = {
        "PPO": (DictRolloutBuffer, GraphRolloutBuffer),
        "MaskablePPO": (MaskableDictRolloutBuffer, MaskableGraphRolloutBuffer),
    }[algorithm]
    samples = []
    for kind in classes:
        env = native(3, obs=form, **MODES[mode])
        buffer = kind(70, env.observation_space, env.action_space, "cpu", n_envs=3)
        for _ in range(2):  # a buffer is used again and again
            buffer.reset()
            rollout(buffer, env, algorithm)
        np.random.seed(0)  # noqa: NPY002
        samples.append([*buffer.get(64), *buffer.get(None)])
    for a, b in zip(*samples, strict=True):
        for name in a._fields:
            left, right = getattr(a, name), getattr(b, name)
            pairs = [(left[key], right[key]) for key in left] if name == "observations" else [(left, right)]
            assert name != "observations" or list(left) == list(right)
            for x, y in pairs:
                assert x.dtype == y.dtype and torch.equal(x, y), name


@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "TRPO", "MaskablePPO"])
def test_training_with_the_packed_buffer_gives_identical_parameters(algorithm: str) -> None:
    torch.set_num_threads(1)
    library = stable_baselines3 if algorithm in ("PPO", "A2C") else sb3_contrib
    masked = algorithm == "MaskablePPO"
    policy = GraphMaskablePolicy if masked else GraphPolicy
    found = []
    for buffer in (None, MaskableGraphRolloutBuffer if masked else GraphRolloutBuffer):
        extra = {} if algorithm == "A2C" else {"batch_size": 40}
        model = getattr(library, algorithm)(
            policy, native(2, **MODES["assign"]), n_steps=40, seed=0, device="cpu", rollout_buffer_class=buffer,
            policy_kwargs={"hidden": 8, "layers": 1}, **extra,
        )  # fmt: skip
        found.append(model.learn(160).policy.state_dict())
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])


@pytest.mark.parametrize("nodes", [2, 40])
def test_packed_observations_of_any_size_and_order(nodes: int) -> None:
    """Arrays below and above the size from which they are compressed; graphs that come and go."""
    shapes = {
        "nodes": (nodes, 3),
        "edge_mask": (5,),
        "globals": (2,),
        "candidates": (nodes, 2),
        "action_mask": (nodes,),
    }
    dtypes = {key: np.int8 if "mask" in key else np.float32 for key in shapes}
    packed = PackedObservations(6, 2, shapes, dtypes)
    rng = np.random.default_rng(0)
    steps = []
    for step in range(6):
        steps.append({key: rng.integers(2, size=(2, *shape)).astype(dtypes[key]) for key, shape in shapes.items()})
        steps[-1]["edge_mask"][:] = [[step % 2] * 5, [step % 3 == 0] * 5]
        packed.put(step, steps[-1])
    indices = rng.permutation(12)
    found = packed.get(indices)
    assert list(found) == list(shapes) and len(packed.graphs) == 2
    for row, index in enumerate(indices):
        for key in shapes:
            assert found[key].dtype == dtypes[key]
            assert np.array_equal(found[key][row], steps[index % 6][key][index // 6]), key


@pytest.mark.parametrize("mode", MODES)
def test_packed_observations_need_a_twentieth_of_the_memory(mode: str) -> None:
    """At 256 nodes, two graphs, full observations; everything that is kept is counted."""
    instances = ["delaunay:n=256,seed=1", "delaunay:n=256,seed=2"]
    options = {key: value for key, value in MODES[mode].items() if key != "steps"} | {"k": 4}
    vector = ProblemVectorEnv(
        4, "Partitioning", instances=instances, autoreset_mode=AutoresetMode.SAME_STEP, **options
    )  # fmt: skip
    env = SB3VectorEnv(vector)
    buffer = MaskableGraphRolloutBuffer(256, env.observation_space, env.action_space, "cpu", n_envs=4)
    peer = MaskableDictRolloutBuffer(1, env.observation_space, env.action_space, "cpu", n_envs=4)
    rollout(buffer, env, "MaskablePPO")
    plain = 256 * (sum(item.nbytes for item in peer.observations.values()) + peer.action_masks.nbytes)
    assert plain >= 20 * (buffer.packed.nbytes + buffer.action_masks.nbytes)


@pytest.mark.parametrize("mode", MODES)
def test_observations_evaluated_some_at_a_time_give_the_same(mode: str) -> None:
    env = native(7, obs="full", **MODES[mode])
    observation = {key: torch.as_tensor(value) for key, value in env.reset().items()}  # type: ignore[union-attr]
    actions = torch.as_tensor(legal_actions(env.env_method("action_masks"), env.action_space, np.random.default_rng(0)))
    torch.manual_seed(0)
    policy = GraphMaskablePolicy(env.observation_space, env.action_space, lambda _: 1e-3, hidden=16, layers=2)
    found, gradients = [], []
    for together in (100, 3, 1):
        policy.net.rows_together = together
        policy.zero_grad()
        parts = policy.evaluate_actions(observation, actions)
        sum(part.square().sum() for part in parts).backward()
        found.append(torch.cat([part.reshape(-1) for part in parts]).detach())
        gradients.append(torch.cat([item.grad.reshape(-1) for item in policy.parameters() if item.grad is not None]))
    for kept in (found, gradients):
        scale = float(kept[0].abs().max())  # single precision rounds sums at the scale of their largest terms
        assert all(float((kept[0] - other).abs().max()) < 1e-4 * scale for other in kept[1:])
