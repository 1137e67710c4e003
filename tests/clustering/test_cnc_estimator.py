"""`CNCClusterer`, the learner `cnc` as an estimator of scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cnc_cases import agreement, blobs
from sklearn.utils.estimator_checks import parametrize_with_checks

from sysgym.core.errors import Notice, UsageError
from sysgym_agents.clustering.estimator import CNCClusterer


@parametrize_with_checks([CNCClusterer(steps=20, hidden=16, learning_rate=2e-2)])
def test_scikit_learn_takes_it(estimator: CNCClusterer, check: Any) -> None:
    check(estimator)


def test_the_estimator_assigns_unseen_points_and_repeats_itself() -> None:
    (seen, truth), (unseen, other) = blobs(), blobs(9)
    fits = [CNCClusterer(3, steps=100, hidden=16, learning_rate=1e-2, random_state=4).fit(seen.x) for _ in range(2)]
    assert (fits[0].labels_ == fits[1].labels_).all() and agreement(fits[0].labels_, truth) > 0.97
    assert fits[0].n_features_in_ == 4 and agreement(fits[0].predict(unseen.x), other) > 0.97


@pytest.mark.parametrize("points", [2, 10])
def test_the_estimator_takes_few_points(points: int) -> None:
    x = np.random.default_rng(0).normal(size=(points, 3))
    model = CNCClusterer(min(8, points), steps=5, hidden=4, random_state=0)
    assert model.fit_predict(x).shape == (points,) and (model.predict(x) == model.labels_).all()


@pytest.mark.parametrize("value", [0, 2.0, True, "3"])
@pytest.mark.parametrize("name", ["n_clusters", "neighbours", "steps"])
def test_the_estimator_refuses_what_is_no_count(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} of CNCClusterer must be a whole number, at least 1, got {value!r}"):
        CNCClusterer(**{name: value}).fit(np.eye(5))


def test_the_estimator_says_that_points_are_too_few() -> None:
    with pytest.warns(Notice, match="3 points are too few for n_clusters=8; it makes 3"):
        assert CNCClusterer(steps=5, hidden=4, random_state=0).fit_predict(np.eye(3)).max() < 3


@pytest.mark.parametrize("offset", [-1e6, 1e9])
def test_the_place_of_points_does_not_matter_to_the_estimator(offset: float) -> None:
    (seen, truth), (unseen, other) = blobs(), blobs(9)
    model = CNCClusterer(3, steps=100, hidden=16, learning_rate=1e-2, random_state=4)
    assert agreement(model.fit_predict(seen.x.astype(float) + offset), truth) > 0.97
    assert agreement(model.predict(unseen.x.astype(float) + offset), other) > 0.97
    with pytest.raises(UsageError, match=r"coordinates reach 1e\+200, expected 1e\+30 at most"):
        model.predict(np.full((3, 4), 1e200))
