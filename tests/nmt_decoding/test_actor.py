"""`trainable-greedy`: without weights that correct anything it is greedy decoding, and it learns to do better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sysgym
from sysgym.core.errors import UsageError
from sysgym.text.catalogue import load_model
from sysgym.text.episodes.sentences import Sentences, sentences
from sysgym.text.scoring import score
from sysgym.text.search import Beam, beam_search, greedy
from sysgym_agents.core import Budget, make_agent
from sysgym_agents.decoding.actor_decode import corrected, follow

NAMES = ["آزتمون", "آزا", "مولديرز", "آب"]


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Importing the libraries is no part of a test."""
    import torch._dynamo  # noqa: F401


def problem() -> Any:
    return sysgym.make_problem("NMTDecoding")


def actor(scale: float) -> Any:
    """The packaged model with an actor of random weights."""
    model, rng = load_model("translit"), np.random.default_rng(0)
    wide, hidden, count = model.config.width, 16, 8
    shapes = {"enter.weight": (hidden, 2 * wide + count), "enter.bias": (hidden,),
              "leave.weight": (wide + count + 1, hidden), "leave.bias": (wide + count + 1,)}  # fmt: skip
    drawn = {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    return corrected(model, drawn, count)


def test_what_corrects_nothing_is_greedy_decoding() -> None:
    task = problem().task(problem().load("ar2en/test-0"))
    for beam in (Beam(width=1, alpha=0.0), Beam(width=3, alpha=1.0)):
        plain = beam_search(load_model("translit"), task.sources, beam, 30)
        found = beam_search(actor(0.0), task.sources, beam, 30)
        if beam.width == 1:
            assert (found.tokens == plain.tokens).all() and (found.forwards == plain.forwards).all()
            continue
        same = [found.best(row).tolist() == plain.best(row).tolist() for row in range(len(task.sources))]
        assert np.mean(same) > 0.9  # of 8 candidates instead of all: a probability less than 1 is left out


def test_a_name_is_answered_alike_alone_and_among_others() -> None:
    task, model = problem().task(problem().load("ar2en/test-0")), actor(0.3)
    together = greedy(model, task.sources)
    plain = greedy(load_model("translit"), task.sources)
    moved = [together.best(row).tolist() != plain.best(row).tolist() for row in range(len(task.sources))]
    assert np.mean(moved) > 0.25
    for row in (0, 5, 23):
        alone = greedy(model, [task.sources[row]])
        assert alone.best(0).tolist() == together.best(row).tolist() and alone.logp[0] == together.logp[row]


def test_following_an_answer_notes_what_scoring_says() -> None:
    """The log-probabilities of an answer's tokens add up to its score, and vectors give the softmax back."""
    model = load_model("translit")
    sources = [model.ids(name) for name in NAMES]
    found = beam_search(model, sources, Beam(width=3, alpha=1.0), 30)
    answers = [found.best(row) for row in range(len(NAMES))]
    positions = follow(model, sources, answers, 8)
    assert len(positions.place) == sum(map(len, answers)) + len(answers)
    said = positions.logp[np.arange(len(positions.place)), positions.place]
    assert said.sum() == pytest.approx(score(model, sources, answers).sum(), abs=1e-4)
    again = follow(model, sources[::-1], answers[::-1], 8)
    assert sorted(map(tuple, again.logp.tolist())) == sorted(map(tuple, positions.logp.tolist()))


def test_it_learns_what_a_beam_finds() -> None:
    """On the names that it is trained on: at the price of greedy decoding better than that."""
    made = problem()
    names = made.load("ar2en/test-0")
    agent = make_agent("trainable-greedy", hidden=64, batch=256, learning_rate=0.01)
    told: list[dict[str, float]] = []
    agent.fit(made, [names], np.random.default_rng(0), Budget(steps=150), lambda row: told.append(row) or True)
    assert told[-1]["right"] > told[0]["right"] and told[-1]["steps"] == 150
    verdict = made.judge(names, agent.solve(made, names, np.random.default_rng(0), Budget()))
    assert verdict.cost < made.reference_costs(names)["greedy"] - 5
    assert agent.forget(np.random.default_rng(1))
    fresh = made.judge(names, agent.solve(made, names, np.random.default_rng(0), Budget()))
    assert fresh.cost == made.reference_costs(names)["greedy"]


def test_a_training_goes_on_where_it_was(tmp_path: Path) -> None:
    made = problem()
    names = [made.load("ar2en/valid-0")]

    def fitted(steps: int, until: int = 10**9, folder: Path | None = None) -> Any:
        agent = make_agent("trainable-greedy", hidden=8, batch=32)
        if folder is not None:
            assert agent.load_training(folder, Budget(steps=steps))
        agent.fit(made, names, np.random.default_rng(3), Budget(steps=steps), lambda row: row["steps"] < until)
        return agent

    whole, half = fitted(100), fitted(100, until=50)
    assert half.save_training(tmp_path)
    rest = fitted(50, folder=tmp_path)
    for name, value in whole.weights().items():
        assert (value == rest.weights()[name]).all() and not (value == half.weights()[name]).all()


def test_what_it_cannot_learn_from_or_answer(tmp_path: Path) -> None:
    made = problem()
    names: Sentences = made.load("ar2en/test-0")
    agent, rng = make_agent("trainable-greedy", hidden=8, batch=8), np.random.default_rng(0)
    assert made.judge(names, agent.solve(made, names, rng, Budget())).cost == made.reference_costs(names)["greedy"]
    with pytest.raises(UsageError, match="no references to choose answers by: give references=FILE"):
        agent.fit(made, [sentences("mine", "translit", NAMES)], rng, Budget(steps=1))
    agent.fit(made, [names], rng, Budget(steps=1))
    agent.save(tmp_path)
    again = make_agent("trainable-greedy")
    again.load(tmp_path)
    again.model = ("other", "0" * 64)
    with pytest.raises(UsageError, match=r"are for the model 'other' .000000000000., and the sente"):
        again.solve(made, names, rng, Budget())
    with pytest.raises(UsageError, match="mode 'beam' steers a search"):
        agent.solve(sysgym.make_problem("NMTDecoding", mode="beam"), names, rng, Budget())


def test_the_oracle_is_a_bound_of_its_beam() -> None:
    """It is at least as good as what the beam answers, sentence by sentence, and needs references."""
    made, rng = problem(), np.random.default_rng(0)
    names = made.load("ar2en/test-0")
    score = made.task(names).score
    best = make_agent("oracle", width=5).solve(made, names, rng, Budget())
    beam = make_agent("beam", width=5).solve(made, names, rng, Budget())
    for row, (one, two) in enumerate(zip(made.legend(names, best), made.legend(names, beam), strict=True)):
        assert score.cost(score.of(row, one["answer"])) <= score.cost(score.of(row, two["answer"]))
    assert made.judge(names, best).cost < made.judge(names, beam).cost
    with pytest.raises(UsageError, match="chooses by references, and mine has none"):
        make_agent("oracle").solve(made, sentences("mine", "translit", NAMES), rng, Budget())
