"""Wrappers of the standard observation: nothing is lost, the checkers pass, masks stay within reach."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from sysgym import UsageError
from sysgym.wrappers import FlattenGraph, GraphObservation, PadFeatures, to_graph_instance
from sysgym_agents.general.random import sample_action

ID = "sysgym/Partitioning-v0"
WRAP: dict[str, Callable[[gym.Env], gym.Env]] = {
    "pad": lambda env: PadFeatures(env, nodes=16, edges=4, globals=9),
    "flatten": FlattenGraph,
    "some": lambda env: FlattenGraph(env, keys=["globals", "action_mask"]),
    "graph": GraphObservation,
    "pad and flatten": lambda env: FlattenGraph(PadFeatures(env, nodes=16)),
}


def make(**options: Any) -> gym.Env:
    return gym.make(ID, **{"instances": "tiny/train", "mode": "assign", **options})


@pytest.mark.parametrize("name", WRAP)
def test_the_checkers_pass(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*different from the unwrapped version.*")
        warnings.filterwarnings("ignore", ".*unconventional shape.*")
        env = WRAP[name](make())
        check_env(env, skip_render_check=True)
        if name != "graph":  # a space that SB3 does not know
            check_env_sb3(WRAP[name](make()))


@pytest.mark.parametrize("name", WRAP)
def test_observations_lie_in_their_space(name: str) -> None:
    env = WRAP[name](make())
    masks, rng = env.get_wrapper_attr("action_masks"), np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    over = False
    while not over:
        assert observation in env.observation_space
        observation, _, over, _, _ = env.step(sample_action(rng, env.action_space, masks()))
    assert observation in env.observation_space


@pytest.mark.parametrize("name", ["pad", "flatten", "some", "graph"])
def test_the_spec_remembers_the_wrapper(name: str) -> None:
    env = WRAP[name](make())
    again = gym.make(pickle.loads(pickle.dumps(env.spec)))
    assert again.observation_space == env.observation_space
    assert gym.envs.registration.EnvSpec.from_json(env.spec.to_json()).additional_wrappers


def test_padding_adds_zeros_only() -> None:
    plain, env = make(), PadFeatures(make(), nodes=16, globals=9)
    before, after = plain.reset(seed=1)[0], env.reset(seed=1)[0]
    width = before["nodes"].shape[1]
    assert after["nodes"].shape == (*before["nodes"].shape[:1], 16) and not after["nodes"][:, width:].any()
    np.testing.assert_array_equal(after["nodes"][:, :width], before["nodes"])
    np.testing.assert_array_equal(after["globals"], np.pad(before["globals"], (9 - len(before["globals"]), 0)))
    assert after["globals"][-1] == before["globals"][-1]  # still the fraction of the episode done
    assert all(np.array_equal(after[key], before[key]) for key in before if key not in ("nodes", "globals"))
    assert PadFeatures(make(obs="dynamic"), dynamic=12).reset(seed=0)[0]["dynamic"].shape[1] == 12


def test_one_width_for_several_modes() -> None:
    shapes = set()
    for mode in ("assign", "refine"):
        env = PadFeatures(make(mode=mode), nodes=20, globals=12, edges=3)
        shapes.add(tuple(env.observation_space[key].shape for key in ("nodes", "globals", "edges")))
    assert len(shapes) == 1


def test_flattening_loses_nothing() -> None:
    plain, env = make(), FlattenGraph(make())
    before, after = plain.reset(seed=1)[0], env.reset(seed=1)[0]
    assert after.dtype == np.float32 and after.ndim == 1 and set(env.slices) == set(before)
    for key, value in before.items():
        np.testing.assert_array_equal(after[env.slices[key]].reshape(value.shape), value)
    some = FlattenGraph(make(), keys=["globals", "action_mask"])
    np.testing.assert_array_equal(
        some.reset(seed=1)[0], np.concatenate([before["globals"], before["action_mask"].astype(np.float32)])
    )


def test_an_algorithm_without_dictionaries_trains() -> None:
    from sb3_contrib import ARS

    env = FlattenGraph(make(), keys=["globals", "candidates"])
    model = ARS("LinearPolicy", env, n_delta=1, n_eval_episodes=1, seed=0, device="cpu")
    model.learn(100)
    assert env.action_space.contains(int(model.predict(env.reset(seed=0)[0])[0]))


def test_the_graph_is_the_instance() -> None:
    env = GraphObservation(make(max_nodes=200, max_edges=1000))
    graph, _ = env.reset(seed=3)
    instance = env.unwrapped.instance
    assert graph.nodes.shape[0] == instance.nodes and graph.edges.shape[0] == len(instance.adjncy)
    found = {
        (*link, weight) for link, weight in zip(map(tuple, graph.edge_links.tolist()), graph.edges[:, 0], strict=True)
    }
    plain = make(max_nodes=200, max_edges=1000).reset(seed=3)[0]
    weights = plain["edges"][plain["edge_mask"] == 1, 0]
    links = zip(instance.sources.tolist(), instance.adjncy.tolist(), weights, strict=True)
    assert found == set(links)
    assert (graph.nodes == to_graph_instance(plain).nodes).all()


@pytest.mark.parametrize(
    ("wrap", "sentence"),
    [
        (lambda: PadFeatures(make(), nodes=1), "nodes has .* features, it cannot be padded to 1"),
        (lambda: PadFeatures(make(), node=9), "Did you mean 'nodes'"),
        (lambda: PadFeatures(make(), focus=9), "unknown observation with features 'focus'"),
        (lambda: PadFeatures(make(), nodes="9"), "cannot be padded to '9'"),
        (lambda: FlattenGraph(make(), keys=["gobals"]), "Did you mean 'globals'"),
        (lambda: FlattenGraph(make(), keys=[]), "keys must name observations"),
        (lambda: FlattenGraph(make(), keys=["focus", "focus"]), "each once"),
        (lambda: GraphObservation(make(obs="dynamic")), 'obs="full"'),
        (lambda: to_graph_instance({}), "the observation has no 'node_mask'"),
        (lambda: FlattenGraph(FlattenGraph(make())), "needs the standard observation, a Dict, got Box"),
    ],
)
def test_wrong_use_gets_one_sentence(wrap: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        wrap()
