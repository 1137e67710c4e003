"""Minimum risk training: its loss by hand, and that a model writes better for it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_models import NETWORK, prepared, words

from sysgym.core.errors import UsageError
from sysgym.text.scoring import score
from sysgym.text.search import Beam, beam_search
from sysgym_agents.core import Budget, Clock
from sysgym_agents.decoding.training.batches import Example, batch_of
from sysgym_agents.decoding.training.risk import RiskTraining, _expected, _logp
from sysgym_agents.decoding.training.texts import Pairs
from sysgym_agents.decoding.training.training import fit
from sysgym_agents.learning import devices
from sysgym_zoo.tools.modelling.corpus import Files
from sysgym_zoo.tools.modelling.job import Asked, train


def turned(count: int = 240) -> Pairs:
    """Words, and the same read from behind."""
    found = words(count)
    return Pairs(found, [word[::-1] for word in found])


def test_the_expected_risk_by_hand() -> None:
    """One source with two hypotheses, of P 0.1 and 0.3 and risks 0.2 and 0.6, and one with a single one of risk 0.5."""
    logp = torch.tensor([math.log(0.1), math.log(0.3), -40.0], requires_grad=True)
    loss = _expected(logp, torch.tensor([0, 0, 1]), torch.tensor([0.2, 0.6, 0.5]), 2)
    assert float(loss.detach()) == pytest.approx(((0.25 * 0.2 + 0.75 * 0.6) + 0.5) / 2)
    (slope,) = torch.autograd.grad(loss, logp)  # d/dlogp of sum Q r is Q (r - mean r)
    assert slope.tolist() == pytest.approx([0.25 * (0.2 - 0.5) / 2, 0.75 * (0.6 - 0.5) / 2, 0.0], abs=1e-7)


def test_log_probabilities_are_the_engines() -> None:
    model, training = prepared(NETWORK, turned(), 40)
    own = replace(model, tensors=training.net.tensors())
    sources = [own.ids(word) for word in turned().sources[:6]]
    found = beam_search(own, sources, Beam(width=2), 20)
    answers = [found.best(row) for row in range(6)]
    made = [
        Example(own.read(source), np.concatenate([[1], answer]), np.concatenate([answer, [2]]))
        for source, answer in zip(sources, answers, strict=True)
    ]
    training.net.eval()
    said = _logp(training.net, batch_of(made, np.arange(6)))
    assert said.detach().numpy() == pytest.approx(score(own, sources, answers), abs=1e-4)


def test_a_model_writes_better_for_it() -> None:
    """After too short a training by cross entropy, minimum risk training lowers what its greedy answers cost."""
    pairs = turned(400)
    model, training = prepared(NETWORK, pairs, 60, sample=60)
    fit(training, Clock(Budget()), 12, lambda row: True)
    training.validate()
    begun = replace(model, tensors=training.best)
    setting = replace(training.setting, risk=4, learning_rate=2e-3)
    tuned = RiskTraining(begun, setting, 0, training.train, training.valid)
    tuned.validate()
    before = tuned.perplexity
    fit(tuned, Clock(Budget()), 2, lambda row: True)
    assert tuned.perplexity < before - 1


def test_it_takes_the_same_course_on_another_device(gpu: None) -> None:
    model, training = prepared(NETWORK, turned(), 40, sample=4)
    fit(training, Clock(Budget()), 3, lambda row: True)
    begun, losses = replace(model, tensors=training.net.tensors()), []
    for wish in ("cpu", "cuda"):
        with devices.using(wish):
            tuned = RiskTraining(begun, replace(training.setting, risk=3), 0, training.train[:40], training.valid[:4])
            losses.append([tuned.step(0.1)["loss"], tuned.validate()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and losses[0][0] > 0


@pytest.mark.parametrize(
    ("start", "changes", "match"),
    [
        (None, ("risk=5",), "risk is lowered of what a model writes: name one to go on from with --from"),
        ("translit", ("risk=5",), "translit is no recurrent network, and only those are trained"),
        ("dialogue", ("units=8",), "--from keeps the network and vocabulary of dialogue; leave out --set units=8"),
        ("dialogue", ("risk=2",), "dialogue writes in segments, whose risk is not known"),
    ],
)
def test_what_it_does_not_go_on_from(start: Any, changes: tuple[str, ...], match: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("".join(f"{word}\t{word[::-1]}\n" for word in words(120)))
    files = Files(pairs=str(tmp_path / "pairs.tsv"))
    few = () if start else ("vocabulary=characters",)
    with pytest.raises(UsageError, match=match):
        train(Asked(None, files, (*few, *changes), Budget(steps=1), 0, 1, start), tmp_path / "out")
