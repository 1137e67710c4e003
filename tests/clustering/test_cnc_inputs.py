"""The learner `cnc`: means over random walks beside its points, affinities within batches, and its Siamese network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cnc_cases import FAST, affinity, agreement, blobs, dense, fitted, problem, same
from sklearn.neighbors import NearestNeighbors

from sysgym.clustering.instance import Affinity
from sysgym.core.errors import UsageError
from sysgym_agents.clustering import cnc
from sysgym_agents.clustering.cnc import CNC
from sysgym_agents.clustering.cnc_batches import Sampled, inputs_of
from sysgym_agents.clustering.cnc_kernels import batch_affinity, batch_reach
from sysgym_agents.clustering.cnc_siamese import ALIKE, ANCHORS, Pairs, Siamese, contrastive
from sysgym_agents.core import Budget

OTHER = [{"hops": 2}, {"affinity": "batch"}, {"affinity": "siamese"}, {"affinity": "siamese", "hops": 1}]


def random_instance(seed: int = 0, n: int = 30) -> Affinity:
    """Points far from the origin with self affinities; the last one has no affinity at all."""
    rng = np.random.default_rng(seed)
    w = rng.random((n, n)) * (rng.random((n, n)) < 0.2)
    w = w + w.T
    w[-1] = w[:, -1] = 0
    return affinity(w, 100 + rng.normal(size=(n, 5)))


def by_sklearn(x: np.ndarray, reach: float) -> np.ndarray:
    """W of 3 neighbours, itself the first, by the search of scikit-learn."""
    distances, near = NearestNeighbors(n_neighbors=3).fit(x).kneighbors(x)
    w = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        for d, j in zip(distances[i], near[i], strict=True):
            w[i, j] = np.exp(-(d**2) / (2 * reach**2))
    return (w + w.T) / 2


@pytest.fixture(scope="module")
def walking() -> CNC:
    return fitted(hops=2)


# ------------------------------------------------------------------------------------------------ random walks


def test_means_over_walks_are_those_of_dense_matrices() -> None:
    instance = random_instance()
    w = dense(instance)
    w[-1, -1] = 1  # it stays where it is
    step, x = w / w.sum(axis=1, keepdims=True), instance.x.astype(np.float64)
    wanted = np.hstack([np.linalg.matrix_power(step, hop) @ x for hop in range(4)])
    found = inputs_of(instance, 3)
    assert found.dtype == np.float32 and np.allclose(found, wanted, rtol=0, atol=2e-5)
    assert (found[-1] == np.tile(instance.x[-1], 4)).all() and (inputs_of(instance, 0) == instance.x).all()


@pytest.mark.parametrize(
    ("total", "hyper"),
    [
        (9.940047359246819, {}),
        (9.845767149236053, {"gumbel": False, "loss": "neuncut", "memory": 0.3}),
        (9.357025419129059, {"guided": True}),
    ],
)
def test_without_hops_the_weights_are_those_of_before(total: float, hyper: dict[str, Any]) -> None:
    """Sums of all weights after 50 steps, taken before there were hops; other machines may round otherwise."""
    state = fitted(50, **hyper).net.state_dict()
    assert sum(float(value.double().sum()) for value in state.values()) == pytest.approx(total, abs=1e-3)
    assert state["dense.0.weight"].shape == (16, 4)


@pytest.mark.parametrize("hyper", OTHER)
def test_it_learns_blobs_and_assigns_unseen_ones(hyper: dict[str, Any]) -> None:
    agent, (unseen, truth) = fitted(150, seeds=16, **hyper), blobs(7)
    assert agreement(agent.predict(unseen), truth) > 0.97
    labels = agent.solve(problem(3), unseen, np.random.default_rng(0), Budget())["labels"]
    assert (labels == agent.predict(unseen)).all()


def test_what_is_solved_is_seen_through_its_own_graph(walking: CNC) -> None:
    """Where blob 1 has links to blob 0 alone, which keeps to itself, some of it gets that cluster."""
    instance, truth = blobs(3)
    w = 100.0 * np.equal.outer(truth, truth) * (truth != 1) + 1.0 * (np.add.outer(truth, truth) == 1)
    moved = affinity(w, instance.x)
    step = dense(moved) / dense(moved).sum(axis=1, keepdims=True)
    x = instance.x.astype(np.float64)
    inputs = torch.from_numpy(np.hstack([x, step @ x, step @ step @ x]).astype(np.float32))
    usual, found = (
        walking.solve(problem(3), each, np.random.default_rng(0), Budget())["labels"] for each in (instance, moved)
    )
    assert (found == walking.net(inputs).argmax(dim=1).numpy()).all()
    changed = found != usual
    assert changed.any() and (truth[changed] == 1).all() and set(found[changed]) == set(usual[truth == 0])


def test_weights_with_hops_are_restored_and_drawn_anew(walking: CNC, tmp_path: Path) -> None:
    walking.save(tmp_path)
    loaded, instance = CNC(), blobs(3)[0]
    loaded.load(tmp_path)
    assert loaded.hops == loaded.net.hops == 2 and loaded.facts() == {"features": 4, "clusters": 3, "prepared": ""}
    assert (loaded.predict(instance) == walking.predict(instance)).all()
    assert loaded.forget(np.random.default_rng(0)) and loaded.net.hops == 2
    assert torch.equal(loaded.net.mean, walking.net.mean) and not same(loaded, walking)
    loaded.load(tmp_path)
    loaded.fit(problem(3), [instance], np.random.default_rng(0), Budget(steps=2))
    assert not same(loaded, walking) and loaded.net.hops == 2


def test_weights_for_other_hops_are_refused_before_a_network_is_built(walking: CNC, tmp_path: Path) -> None:
    walking.save(tmp_path)
    file = tmp_path / "agent.json"
    for hops, sentence in ((8, "model.safetensors does not fit agent.json"), (9, "hops of agent 'cnc'")):
        file.write_text(
            file.read_text().replace('"hops": 2', f'"hops": {hops}').replace('"hops": 8', f'"hops": {hops}')
        )
        with pytest.raises(UsageError, match=sentence):
            CNC().load(tmp_path)


# ------------------------------------------------------------------------------------------------ batches


@pytest.mark.parametrize("seed", range(3))
def test_affinities_within_a_batch_are_those_of_scikit_learn(seed: int) -> None:
    x = 1000 + np.random.default_rng(seed).normal(size=(40, 6))
    reach = float(np.median(NearestNeighbors(n_neighbors=5).fit(x).kneighbors(x)[0][:, -1]))
    assert batch_reach(x) == pytest.approx(reach, rel=1e-6)
    w = batch_affinity(x, reach)
    assert w.dtype == np.float32 and (np.diag(w) == 1).all() and (w == w.T).all()
    assert np.allclose(w, by_sklearn(x, reach), atol=1e-6)


def test_affinities_of_points_at_one_place() -> None:
    x = np.zeros((8, 2), np.float32)
    assert batch_reach(x) == 1 and batch_reach(x[:1]) == 1
    assert (np.diag(batch_affinity(x, 1.0)) == 1).all() and batch_affinity(x, 1.0).sum() == 24
    x[0] = 3, 4
    assert batch_reach(x) == pytest.approx(5)  # the median of the positive distances
    assert np.allclose(batch_affinity(x[:2], 5.0), [[1, np.exp(-0.5)], [np.exp(-0.5), 1]])


def test_random_batches_have_distinct_points_and_distances_of_the_space() -> None:
    source, rng = Sampled(blobs()[0]), np.random.default_rng(0)
    space = rng.normal(size=(120, 2)).astype(np.float32)
    source.look(space, rng, 60)
    drawn = [source.draw(rng, 15, 3) for _ in range(30)]
    assert all(len(set(chosen)) == 60 and (np.diff(chosen) > 0).all() for chosen in drawn)
    assert len(set(np.concatenate(drawn))) == 120 and len(source.draw(rng, 64, 3)) == 120
    assert np.allclose(source.affinity(drawn[0]), by_sklearn(space[drawn[0]], source.reach), atol=1e-6)


# ------------------------------------------------------------------------------------------------ the Siamese network


def test_the_contrastive_loss_by_hand() -> None:
    """Distances 0.5 and 0.05 of pairs that are alike, 0.6 and 5 of others: (0.45^2 + 0 + 0.4^2 + 0) / 4."""
    a = torch.zeros(4, 2, requires_grad=True)
    b = torch.tensor([[0.3, 0.4], [0.03, 0.04], [0.6, 0.0], [3.0, 4.0]])
    loss = contrastive(a, b, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    assert loss.item() == pytest.approx((0.45**2 + 0.4**2) / 4, abs=1e-6)
    slope = torch.autograd.grad(loss, a)[0]
    assert torch.allclose(slope[0], -2 * 0.45 / 4 * b[0] / 0.5) and torch.allclose(slope[2], 2 * 0.4 / 4 * b[2] / 0.6)
    same_place = contrastive(a, a.detach(), torch.zeros(4))
    assert same_place.item() == pytest.approx((1 - 1e-7**0.5) ** 2)
    assert bool(torch.autograd.grad(same_place, a)[0].isfinite().all())


def test_pairs_are_the_nearest_in_the_graph_and_others() -> None:
    instance = random_instance(1)
    pairs, linked = Pairs(instance), dense(instance) > 0
    distances = np.linalg.norm(instance.x[:, None] - instance.x[None], axis=2)
    friends = [
        sorted((j for j in np.flatnonzero(linked[i]) if j != i), key=lambda j: distances[i, j]) for i in range(29)
    ]
    assert all(list(pairs.nearest[i]) == friends[i][:ALIKE] for i in range(29) if len(friends[i]) >= ALIKE)
    first, second, alike = pairs.draw(np.random.default_rng(0))
    assert 29 not in first and alike.sum() == ANCHORS * ALIKE == (alike == 0).sum()
    for i, j, near in zip(first, second, alike, strict=True):
        assert i != j and (j in friends[i][:ALIKE]) if near else (not linked[i, j] and i != j)


def test_pairs_of_graphs_without_others_or_with_few_neighbours() -> None:
    full = Pairs(affinity(np.ones((5, 5)), np.eye(5)))
    assert (full.draw(np.random.default_rng(0))[2] == 1).all()
    two = np.zeros((4, 4))
    two[0, 1] = two[1, 0] = 1
    first, second, alike = Pairs(affinity(two, np.eye(4))).draw(np.random.default_rng(0))
    assert set(first) == {0, 1} and (second[alike == 1] == 1 - first[alike == 1]).all()
    assert set(second[alike == 0]) == {2, 3}


def test_the_embedding_brings_neighbours_together() -> None:
    instance, truth = blobs()
    torch.manual_seed(0)
    siamese, rng = Siamese([instance], torch.device("cpu")), np.random.default_rng(0)
    losses = [siamese.step(rng, done, done / 150) for done in range(150)]
    (space,) = siamese.spaces()
    distances, alike = np.linalg.norm(space[:, None] - space[None], axis=2), np.equal.outer(truth, truth)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    assert distances[alike].mean() < 0.5 * distances[~alike].mean()


def test_both_stages_count_and_are_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnc, "TOLD", 10)
    rows: list[dict[str, float]] = []
    agent = CNC(**FAST, affinity="siamese")
    agent.fit(problem(3), [blobs()[0]], np.random.default_rng(0), Budget(steps=100), lambda row: not rows.append(row))
    assert [row["steps"] for row in rows] == list(range(10, 101, 10))
    assert ["contrastive" in row for row in rows] == [True] * 2 + [False] * 8
    assert ["loss" in row for row in rows] == [False] * 2 + [True] * 8
    assert np.isfinite([value for row in rows for value in row.values()]).all()


@pytest.mark.parametrize("stop", [5, 10, 25])
@pytest.mark.parametrize("hyper", OTHER)
def test_training_goes_on_exactly_in_every_stage(
    hyper: dict[str, Any], stop: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of 50 steps, 10 are those of the Siamese network; the new agent gets nothing but the folder."""
    monkeypatch.setattr(cnc, "TOLD", 5)
    graphs = [blobs(s)[0] for s in range(2)]
    whole, first, second = (CNC(**(FAST | hyper | {"seeds": 16})) for _ in range(3))
    whole.fit(problem(3), graphs, np.random.default_rng(3), Budget(steps=50))

    def save(row: dict[str, float]) -> bool:
        first.save_training(tmp_path)
        return row["steps"] < stop

    first.fit(problem(3), graphs, np.random.default_rng(3), Budget(steps=50), save)
    assert second.load_training(tmp_path, Budget(steps=50 - stop))
    second.fit(problem(3), graphs, np.random.default_rng(9), Budget(steps=50 - stop))
    assert same(whole, second) and not same(first, second)
    for wrong in ({"hops": 3}, {"affinity": "graph" if "affinity" in hyper else "batch"}):
        other = CNC(**(FAST | hyper | wrong | {"seeds": 16}))
        assert other.load_training(tmp_path, Budget(steps=50 - stop))
        with pytest.raises(UsageError, match="does not fit agent 'cnc'"):
            other.fit(problem(3), graphs, np.random.default_rng(9), Budget(steps=50 - stop))


@pytest.mark.parametrize(
    ("key", "value"), [("before", 101), ("before", -1), ("reach", [0.0]), ("reach", []), ("reach", [None])]
)
def test_a_damaged_state_of_both_stages_is_refused(
    key: str, value: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cnc, "TOLD", 10)
    hyper: dict[str, Any] = FAST | {"affinity": "siamese", "seeds": 4}
    first, second, graphs = CNC(**hyper), CNC(**hyper), [blobs()[0]]
    first.fit(
        problem(3),
        graphs,
        np.random.default_rng(3),
        Budget(steps=20),
        lambda row: first.save_training(tmp_path) and False,
    )
    file = tmp_path / "training.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    assert second.load_training(tmp_path, Budget(steps=10))
    with pytest.raises(UsageError, match="does not fit agent 'cnc'"):
        second.fit(problem(3), graphs, np.random.default_rng(9), Budget(steps=10))


# ------------------------------------------------------------------------------------------------ what cannot be done


def test_points_without_a_graph_are_refused_where_neighbours_count(walking: CNC) -> None:
    with pytest.raises(UsageError, match=r"\(hops=2\), which points alone do not have; give an instance"):
        walking.predict(blobs()[0].x)
    with pytest.raises(UsageError, match="bare has affinities alone"):
        walking.predict(affinity(np.ones((6, 6)), None, "bare"))
    with pytest.raises(UsageError, match=r"of 4 features, got an array of shape \(6, 5\)"):
        walking.predict(affinity(np.ones((6, 6)), np.eye(6)[:, :5]))


def test_other_hops_than_those_of_the_weights_are_refused(tmp_path: Path) -> None:
    agent = fitted(5)
    agent.hops = 1
    for act in (agent.fit, agent.solve):
        with pytest.raises(UsageError, match="are for hops=0, not 1; leave hops as it was"):
            given: Any = [blobs()[0]] if act == agent.fit else blobs()[0]
            act(problem(3), given, np.random.default_rng(0), Budget(steps=5))


def test_what_is_out_of_range_or_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for hyper, sentence in (({"hops": 9}, "hops"), ({"hops": -1}, "hops"), ({"affinity": "cut"}, "affinity")):
        with pytest.raises(UsageError, match=sentence):
            CNC(**hyper)
    with pytest.raises(UsageError, match=r"points has no affinities between points, .* choose affinity='batch'"):
        CNC(affinity="siamese").fit(
            problem(3), [affinity(np.eye(5), np.eye(5))], np.random.default_rng(0), Budget(steps=5)
        )
    monkeypatch.setattr("sysgym_agents.learning.memory.available", lambda: 2.0**10)
    with pytest.raises(UsageError, match=r"means of 120 points over 2 steps would take .* lower hops of agent 'cnc'"):
        inputs_of(blobs()[0], 2)
