"""The learner `cnc`: its losses by dense formulas, its batches, the network that it learns, and its estimator."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cnc_cases import FAST, affinity, agreement, blobs, dense, fitted, ncut, problem, same, soft, triangles

from sysgym.clustering.instance import Affinity
from sysgym.clustering.judge import judge_clusters
from sysgym.clustering.problem import Clustering
from sysgym.core.errors import Notice, UsageError
from sysgym_agents.clustering import cnc, cnc_model
from sysgym_agents.clustering.cnc import CNC
from sysgym_agents.clustering.cnc_batches import DIAGONAL, Source
from sysgym_agents.clustering.cnc_loss import blended, expected_imbalance, expected_ncut, neuncut, sums_of
from sysgym_agents.clustering.cnc_model import CncNet
from sysgym_agents.core import Budget, completed, is_learner
from sysgym_agents.learning.learner import undisturbed


@pytest.fixture(scope="module")
def trained() -> CNC:
    return fitted()


# ------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize("seed", range(5))
def test_the_expected_cut_of_hard_labels_is_the_normalised_cut(seed: int) -> None:
    """Self affinities count, and so does an empty cluster."""
    w = soft(20, 2, seed)[1].numpy()
    labels = np.random.default_rng(seed).integers(0, 4, 20)
    y = torch.eye(5, dtype=torch.float64)[torch.from_numpy(labels)]
    assert float(expected_ncut(sums_of(y, torch.from_numpy(w)))) == pytest.approx(ncut(w, labels, 5), abs=1e-6)


def test_the_expected_cut_equals_the_formula_of_the_paper_and_so_does_its_gradient() -> None:
    """reduce-sum((Y / Gamma) (1 - Y)^T * W), by loops."""
    y, w = soft(9, 3)
    y.requires_grad_()
    gamma, total = w.sum(dim=1) @ y, torch.zeros((), dtype=torch.float64)
    for i in range(9):
        for j in range(9):
            for c in range(3):
                total = total + y[i, c] / gamma[c] * (1 - y[j, c]) * w[i, j]
    found = expected_ncut(sums_of(y, w))
    assert found.item() == pytest.approx(total.item(), abs=1e-6)
    slopes = [torch.autograd.grad(value, y)[0] for value in (found, total)]
    free = [slope - slope.mean(dim=1, keepdim=True) for slope in slopes]  # rows sum to 1, so only this counts
    assert torch.allclose(free[0], free[1], atol=1e-6)


def test_the_imbalance_is_that_of_the_paper_for_any_size() -> None:
    y, w = soft(256, 10)
    sizes = y.sum(dim=0)
    assert 6.5536 * float(expected_imbalance(sums_of(y, w))) == pytest.approx(
        0.01 * float(((256 / 10 - sizes) ** 2).mean())
    )


def test_neuncut_equals_its_formula() -> None:
    y, w = soft(12, 4, 1)
    p, a = y.numpy(), w.numpy()
    d = np.diag(a.sum(axis=1))
    h = p @ np.diag(1 / np.sqrt(np.diag(d) @ p))
    wanted = np.trace(h.T @ (d - a) @ h) + 40 * np.linalg.norm(h.T @ d @ h - np.eye(4)) / 4
    assert float(neuncut(sums_of(y, w), 80.0)) == pytest.approx(wanted, rel=1e-6)


def test_neuncut_of_hard_labels_is_the_normalised_cut() -> None:
    w = soft(20, 2, 3)[1]
    labels = np.arange(20) % 4
    y = torch.eye(4, dtype=torch.float64)[torch.from_numpy(labels)]
    assert float(neuncut(sums_of(y, w), 80.0)) == pytest.approx(ncut(w.numpy(), labels, 4), abs=1e-5)


def test_collapse_into_one_cluster_stays_finite() -> None:
    logits = torch.tensor([[200.0, -200.0, -200.0]]).repeat(8, 1).requires_grad_()
    sums = sums_of(torch.softmax(logits, dim=1), soft(8, 3)[1].float())
    assert expected_ncut(sums).item() == pytest.approx(2, abs=1e-5)
    (expected_ncut(sums) + neuncut(sums, 80.0)).backward()
    assert bool(logits.grad.isfinite().all())


def test_running_averages_keep_the_gradient_of_the_batch() -> None:
    y, w = soft(9, 3)
    past = sums_of(*soft(9, 3, 1))
    y.requires_grad_()
    now = sums_of(y, w)
    mixed = blended(past, now, 0.75)
    assert torch.allclose(mixed.volume, 0.75 * past.volume + 0.25 * now.volume)
    slopes = [torch.autograd.grad(sums.size.square().sum(), y, retain_graph=True)[0] for sums in (mixed, now)]
    assert torch.allclose(slopes[0], slopes[1] * (mixed.size / now.size).detach())


# ------------------------------------------------------------------------------------------------ batches


def test_a_batch_is_the_dense_submatrix() -> None:
    w, x = soft(60, 2, 5)[1].numpy(), np.zeros((60, 2))
    instance = affinity(w, x)
    source, rng = Source(instance), np.random.default_rng(0)
    for _ in range(3):
        chosen = source.draw(rng, 6, 3)
        wanted = dense(instance)[np.ix_(chosen, chosen)] / dense(instance).max() + DIAGONAL * np.eye(len(chosen))
        assert np.allclose(source.affinity(chosen), wanted, atol=1e-6)
    assert (source.place == -1).all()


def test_a_batch_has_distinct_points_and_neighbours_of_some() -> None:
    instance, rng = blobs()[0], np.random.default_rng(1)
    source, linked = Source(instance), dense(instance) > 0
    for _ in range(20):
        chosen = source.draw(rng, 4, 2)
        assert len(chosen) <= 12 and (np.diff(chosen) > 0).all()
        assert linked[np.ix_(chosen, chosen)].any(axis=1).all()


def test_points_without_neighbours_are_drawn_alone() -> None:
    instance = affinity(np.zeros((5, 5)), np.eye(5))
    assert len(Source(instance).draw(np.random.default_rng(0), 50, 3)) == 5


# ------------------------------------------------------------------------------------------------ the learner


def test_two_triangles_are_told_apart() -> None:
    instance = triangles()
    labels = CNC(hidden=16, learning_rate=1e-2, repair="none").solve(
        problem(2), instance, np.random.default_rng(0), Budget(steps=200)
    )["labels"]
    assert labels.dtype == np.int32 and ncut(dense(instance), labels, 2) == pytest.approx(2 / 7, abs=1e-6)


VARIANTS = [{"gumbel": False}, {"loss": "neuncut"}, {"memory": 0.9}, {"layers": 0}]


@pytest.mark.parametrize("hyper", [{}, *(pytest.param(hyper, marks=pytest.mark.slow) for hyper in VARIANTS)])
def test_it_learns_blobs_and_assigns_unseen_points(hyper: dict[str, Any]) -> None:
    agent, (unseen, truth) = fitted(200, **hyper), blobs(7)
    assert agreement(agent.predict(unseen.x), truth) > 0.97


def test_it_trains_on_several_graphs() -> None:
    agent = CNC(**FAST)
    agent.fit(problem(3), [blobs(s)[0] for s in range(3)], np.random.default_rng(0), Budget(steps=300))
    assert all(agreement(agent.predict(blobs(s)[0].x), blobs(s)[1]) > 0.97 for s in range(3))


def test_a_label_depends_on_no_other_point(trained: CNC) -> None:
    x = np.random.default_rng(0).normal(2, 2, (700, 4)).astype(np.float32)
    whole, order = trained.predict(x), np.random.default_rng(1).permutation(700)
    assert (trained.predict(x[order]) == whole[order]).all()
    assert (np.concatenate([trained.predict(x[i : i + 1]) for i in range(50)]) == whole[:50]).all()
    assert len(trained.predict(x[:0])) == 0


def test_scale_and_place_of_the_points_do_not_matter() -> None:
    instance = blobs()[0]
    moved = affinity(dense(instance), instance.x * 64 + 512)
    found = []
    for each in (instance, moved):
        agent = CNC(**FAST)
        agent.fit(problem(3), [each], np.random.default_rng(0), Budget(steps=100))
        found.append(agent.predict(each.x))
    assert np.mean(found[0] == found[1]) > 0.98


def test_the_same_seed_gives_the_same_weights_and_nothing_else_is_disturbed(trained: CNC) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert same(trained, fitted()) and not same(trained, fitted(seed=1))
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_labels_of_what_is_solved_are_those_of_the_network(trained: CNC) -> None:
    instance = blobs(3)[0]
    labels = trained.solve(problem(3), instance, np.random.default_rng(0), Budget())["labels"]
    assert (labels == trained.predict(instance.x)).all()


def test_without_weights_it_learns_the_instance_and_keeps_nothing() -> None:
    agent, (instance, truth) = CNC(**FAST, solve_iterations=200), blobs(2)
    labels = agent.solve(problem(3), instance, np.random.default_rng(0), Budget())["labels"]
    assert agreement(labels, truth) > 0.97 and agent.weights() is None


@pytest.mark.parametrize("repair", ["refine", "merge-split"])
def test_the_repair_is_the_local_search(repair: str, trained: CNC) -> None:
    instance, rng = blobs(3)[0], np.random.default_rng(0)
    agent = CNC(hidden=16, repair=repair)
    agent.net = copy.deepcopy(trained.net)
    with torch.no_grad():
        agent.net.out.bias += torch.tensor([9.0, 0.0, 0.0])  # so that there is something to repair
    first = agent.predict(instance.x)
    labels = agent.solve(problem(3), instance, rng, Budget())["labels"]
    assert labels.dtype == np.int32 and (labels != first).any()
    assert ncut(dense(instance), labels, 3) < ncut(dense(instance), first, 3)
    unrepaired = agent.solve(problem(3), instance, rng, Budget(seconds=0.0))["labels"]
    assert (unrepaired == first).all()


def test_a_search_guides_the_training(monkeypatch) -> None:
    """Within its time the network imitates what the search made of its labels, and it then keeps to it."""
    searched = []

    def search(instance: Affinity, labels: np.ndarray, k: int, rng: np.random.Generator, clock: Any) -> np.ndarray:
        searched.append((len(labels), k))
        return (blobs()[1] + 1) % 3

    monkeypatch.setattr(cnc_model, "merge_split", search)
    agent = fitted(200, guided=True)
    assert searched == [(120, 3)] and np.mean(agent.predict(blobs()[0].x) == (blobs()[1] + 1) % 3) > 0.97
    fitted(40)
    assert len(searched) == 1


def test_what_was_forgotten_gives_other_labels_and_disturbs_nothing(trained: CNC) -> None:
    agent, before = fitted(20), torch.random.get_rng_state()
    agent.forget(np.random.default_rng(1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert (agent.predict(blobs()[0].x) != trained.predict(blobs()[0].x)).any()


def test_forgetting_draws_the_weights_anew(trained: CNC, tmp_path) -> None:
    agent = fitted(5)
    old = {key: value.clone() for key, value in agent.net.state_dict().items()}
    assert agent.forget(np.random.default_rng(0)) and not CNC().forget(np.random.default_rng(0))
    new = agent.net.state_dict()
    assert torch.equal(old["mean"], new["mean"]) and not torch.equal(old["out.weight"], new["out.weight"])


@pytest.mark.parametrize("stop", [20, 40])
@pytest.mark.parametrize("hyper", [{"guided": True}, {"guided": True, "memory": 0.9, "loss": "neuncut"}])
def test_training_goes_on_exactly_where_it_was_saved(hyper: dict[str, Any], stop: int, monkeypatch, tmp_path) -> None:
    """While it is guided, and after; the new agent gets nothing but the folder."""
    monkeypatch.setattr(cnc, "TOLD", 20)
    graphs, whole, first = [blobs(s)[0] for s in range(2)], CNC(**(FAST | hyper)), CNC(**(FAST | hyper))
    whole.fit(problem(3), graphs, np.random.default_rng(3), Budget(steps=60))
    assert not first.save_training(tmp_path)

    def save(row: dict[str, float]) -> bool:
        first.save(tmp_path)
        first.save_training(tmp_path)
        return row["steps"] < stop

    first.fit(problem(3), graphs, np.random.default_rng(3), Budget(steps=60), save)
    second = CNC()
    second.load(tmp_path)
    assert same(first, second)
    assert not second.load_training(tmp_path, Budget(steps=1000))  # another schedule
    assert second.load_training(tmp_path, Budget(steps=60 - stop))
    steps = []
    second.fit(
        problem(3),
        graphs,
        np.random.default_rng(9),
        Budget(steps=60 - stop),
        lambda row: not steps.append(row["steps"]),
    )
    assert steps[-1] == 60 - stop and same(whole, second) and not same(first, second)
    wider = CNC(hidden=32)
    wider.load_training(tmp_path, Budget(steps=60 - stop))
    with pytest.raises(UsageError, match="does not fit agent 'cnc'"):
        wider.fit(problem(3), graphs, np.random.default_rng(9), Budget(steps=60 - stop))


def test_fitting_goes_on_from_weights(tmp_path) -> None:
    agent = fitted(100)
    agent.save(tmp_path)
    loaded = CNC()
    loaded.load(tmp_path)
    assert loaded.hyper == agent.hyper and (loaded.predict(blobs()[0].x) == agent.predict(blobs()[0].x)).all()
    before = {key: value.clone() for key, value in loaded.net.state_dict().items()}
    loaded.fit(problem(3), [blobs()[0]], np.random.default_rng(1), Budget(steps=1))
    moved = [float((value - before[key]).abs().max()) for key, value in loaded.net.state_dict().items()]
    assert 0 < max(moved) <= FAST["learning_rate"]


def test_the_callback_hears_means_and_can_stop() -> None:
    rows, agent = [], CNC(**FAST)
    agent.fit(
        problem(3), [blobs()[0]], np.random.default_rng(0), Budget(steps=1000), lambda row: bool(rows.append(row))
    )
    assert [row["steps"] for row in rows] == [100] and {"loss", "ncut", "imbalance", "seconds"} <= set(rows[0])


@pytest.mark.parametrize(
    ("k", "instance", "sentence"),
    [
        (3, affinity(np.ones((6, 6)), np.eye(6)[:, :5]), "points of 4 features and 3 clusters, points has 5"),
        (4, blobs()[0], "3 clusters, blobs0 has 4 features and 4 clusters; .* k=3, or train a new agent"),
        (3, affinity(np.ones((6, 6)), None, "bare"), "bare has affinities alone"),
        (3, affinity(np.ones((6, 6)), np.empty((6, 0))), "points of shape"),
    ],
)
def test_what_does_not_fit_the_weights_is_said(trained: CNC, k: int, instance: Affinity, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        trained.solve(problem(k), instance, np.random.default_rng(0), Budget())


def test_what_cannot_be_done_is_said(trained: CNC, tmp_path) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="no weights to predict with"):
        CNC().predict(np.ones((2, 2)))
    with pytest.raises(UsageError, match="of 4 features, got an array of shape"):
        trained.predict(np.ones((2, 3)))
    with pytest.raises(UsageError, match="at least one graph"):
        CNC().fit(problem(3), [], rng, Budget())
    with pytest.raises(UsageError, match="no weights to save"):
        CNC().save(tmp_path)
    with pytest.raises(UsageError, match="loss"):
        CNC(loss="cut")
    with pytest.raises(UsageError, match="blobs0 has points of 4 features and 3 clusters, points has 6 features"):
        CNC().fit(problem(3), [blobs()[0], triangles()], rng, Budget(steps=1))


def test_batches_beyond_the_memory_are_refused(monkeypatch) -> None:
    monkeypatch.setattr("sysgym_agents.learning.memory.available", lambda: 2.0**20)
    with pytest.raises(UsageError, match=r"a batch of 50000 of 120 points would take .* lower seeds or neighbours"):
        CNC(seeds=10_000, neighbours=4).fit(problem(3), [blobs()[0]], np.random.default_rng(0), Budget(steps=1))


@pytest.mark.parametrize("facts", ['"features": "many"', '"features": -1'])
def test_damaged_facts_are_refused(facts: str, trained: CNC, tmp_path) -> None:
    trained.save(tmp_path)
    file = tmp_path / "agent.json"
    file.write_text(file.read_text().replace('"features": 4', facts))
    with pytest.raises(UsageError, match="must say under 'features'"):
        CNC().load(tmp_path)


def test_it_is_a_learner() -> None:
    assert is_learner(completed(CNC)) and not CNC().needs_training


def test_the_network_begins_as_glorot_has_it() -> None:
    with undisturbed():
        torch.manual_seed(0)
        net = CncNet(50, 512, 2, 10)
    for weight in (layer.weight.detach() for layer in (*net.dense, net.out)):
        assert float(weight.abs().max()) <= (6 / sum(weight.shape)) ** 0.5
        assert float(weight.std()) == pytest.approx((2 / sum(weight.shape)) ** 0.5, rel=0.05)


def prepared(offset: float = 0.0, seed: int = 0, how: Any = "none") -> Affinity:
    x = blobs(seed)[0].x.astype(float) + offset
    found = Clustering(k=3, preprocess=how).adopt(x)
    assert found is not None
    return found


@pytest.mark.filterwarnings("ignore:.*has . components")
def test_points_that_were_prepared_otherwise_are_said(tmp_path: Path) -> None:
    """A fit of the preprocessing, or a move to the origin, is each file's own: frozen weights mean other columns."""
    problem, rng = Clustering(k=3), np.random.default_rng(0)
    for how, offset in (("pca", 0.0), ("standard", 0.0), ("none", 1e6)):
        agent = CNC(**FAST)
        agent.fit(problem, [prepared(offset, 0, how)], rng, Budget(steps=5))
        agent.save(tmp_path / how)
        loaded = CNC()
        loaded.load(tmp_path / how)
        loaded.predict(prepared(offset, 0, how))  # the same points
        for other in (prepared(offset, 9, how), prepared(0.0, 9)):
            with pytest.warns(Notice, match="those of the training of agent 'cnc' '.*': their columns are not"):
                loaded.predict(other)
            with pytest.warns(Notice, match="labels mean little; prepare all points together"):
                loaded.solve(problem, other, rng, Budget())
    one, two = (problem.load(f"digits:n=60,seed={seed}") for seed in (1, 2))
    with pytest.warns(Notice, match="digits:n=60,seed=2: its points are 'pca fitted on digits:n=60,seed=2', those of"):
        CNC(**FAST).fit(Clustering(k=10), [one, two], rng, Budget(steps=2))


def test_of_several_trainings_the_one_of_least_cut_counts() -> None:
    """No worse on the training graph than the same two trainings each by itself, and the very weights of one."""
    (graph, _), agent = blobs(), fitted(60, trials=2)
    rng = np.random.default_rng(0)
    alone = []
    for _ in range(2):
        single = CNC(**FAST)
        single.fit(problem(3), [graph], rng, Budget(steps=30))
        alone.append(single)
    costs = [judge_clusters(graph, each.predict(graph.x), 3).cost for each in alone]
    assert same(agent, alone[int(np.argmin(costs))])


@pytest.mark.parametrize("stopped", [20, 45])
def test_several_trainings_go_on_where_they_were_stopped(stopped: int, tmp_path) -> None:
    whole, first = fitted(60, trials=2), CNC(**FAST, trials=2)

    def stop(row: dict[str, float]) -> bool:
        first.save_training(tmp_path)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cnc, "TOLD", stopped)
        first.fit(problem(3), [blobs()[0]], np.random.default_rng(0), Budget(steps=60), stop)
    again = CNC(**FAST, trials=2)
    assert again.load_training(tmp_path, Budget(steps=60 - stopped))
    again.fit(problem(3), [blobs()[0]], np.random.default_rng(9), Budget(steps=60 - stopped))
    assert same(again, whole)
