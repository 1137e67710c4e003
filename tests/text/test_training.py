"""Trainings: a task is learnt, they go on exactly, batches hold every example once, and texts are checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_models import NETWORK, prepared, words

from sysgym.core.errors import UsageError
from sysgym.text.model import TextModel
from sysgym.text.model_files import read_model, write_model
from sysgym.text.scoring import score
from sysgym.text.search import Beam, greedy, texts
from sysgym.text.segments import segment_beams
from sysgym_agents.core import Budget, Clock
from sysgym_agents.decoding.training.batches import Example, batches_of, examples_of
from sysgym_agents.decoding.training.scores import decoded_scores
from sysgym_agents.decoding.training.setting import Setting, wanted
from sysgym_agents.decoding.training.texts import (
    Pairs,
    held_out,
    lines_of,
    make_vocabulary,
    separator_of,
    tab_separated,
    two_files,
)
from sysgym_agents.decoding.training.training import computes_half, fit
from sysgym_agents.learning.snapshot import Snapshot

REFERENCE = {**NETWORK, "recurrent_bias": True, "attention_scale": True, "attention_values": True, "feed": "none",
             "bridge": "tanh", "tied": True}  # fmt: skip


def turned(count: int = 900) -> Pairs:
    found = words(count)
    return Pairs(found, [word[::-1] for word in found])


@pytest.mark.parametrize(
    "network", [pytest.param(NETWORK, id="fed", marks=pytest.mark.slow), pytest.param(REFERENCE, id="reference")]
)
def test_a_task_is_learnt(network: dict[str, Any], tmp_path: Path) -> None:
    """Words are written backwards, unseen ones too; the folder reads back with the same log P."""
    pairs, losses = turned(), list[float]()
    model, training = prepared(network, pairs)
    fit(training, Clock(Budget()), 12, lambda row: losses.append(row["loss"]) is None)
    assert training.epochs == 12 and len(losses) == training.done
    assert losses[0] > 2 and np.mean(losses[-5:]) < 0.05 and training.perplexity < 1.1
    made, held = replace(model, tensors=training.best), pairs.take(range(len(pairs.sources) - 60, len(pairs.sources)))
    sources = [made.ids(text) for text in held.sources]
    written = list(texts(made, greedy(made, sources)))
    assert np.mean([a == b for a, b in zip(written, held.targets, strict=True)]) > 0.9
    assert decoded_scores(made, held, 60)["chrf"] > 95
    write_model(made, tmp_path / "m", half=False)
    targets = [made.target.encode(text) for text in held.targets]
    found = score(read_model(tmp_path / "m"), sources, targets)
    assert np.array_equal(found, score(made, sources, targets))
    count = sum(map(len, targets)) + len(targets)
    assert np.exp(-found.sum() / count) == pytest.approx(training.perplexity, rel=1e-4)


@pytest.mark.slow
def test_segments_are_learnt() -> None:
    """The glimpse model copies what it reads, though it forgets all but the prefix every two tokens."""
    found = words()
    pairs = Pairs(found, found)
    model, training = prepared(REFERENCE, pairs, segment=2, learning_rate=0.01)
    fit(training, Clock(Budget()), 12, lambda row: True)
    made = replace(model, tensors=training.best)
    held = found[-60:]
    written, _ = segment_beams(made, [made.ids(text) for text in held], Beam(width=1))
    right = [made.text(each.tokens) == text for each, text in zip(written, held, strict=True)]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("stop", [3, 7, 10])
def test_a_training_goes_on_exactly(stop: int, tmp_path: Path) -> None:
    """With dropout, within an epoch, at its end and behind it: the same weights as without the interruption."""
    pairs, numbers = turned(200), {"dropout": 0.3, "batch": 128}
    _, whole = prepared(NETWORK, pairs, 20, **numbers)
    rows = list[dict[str, float]]()
    fit(whole, Clock(Budget()), 2, lambda row: rows.append(row) is None)
    assert whole.done == len(rows) == 14
    _, first = prepared(NETWORK, pairs, 20, **numbers)
    fit(first, Clock(Budget()), 2, lambda row: first.done < stop)
    assert first.done == stop
    first.snapshot().save(tmp_path)
    _, second = prepared(NETWORK, pairs, 20, **numbers)
    second.restore(Snapshot.load(tmp_path))
    again = list[dict[str, float]]()
    fit(second, Clock(Budget()), 2, lambda row: again.append(row) is None)
    assert [row["loss"] for row in again] == [row["loss"] for row in rows[stop:]]
    assert [row["rate"] for row in again] == [row["rate"] for row in rows[stop:]]
    assert second.perplexity == whole.perplexity
    assert all(np.array_equal(second.best[name], value) for name, value in whole.best.items())


def test_a_snapshot_of_another_training_is_refused(tmp_path: Path) -> None:
    _, training = prepared(NETWORK, turned(100), 20)
    training.step(0.0)
    whole = training.snapshot()
    for change in ({"seed": 3}, {"within": 999}, {"epoch": -1}, {"share": 2.0}):
        with pytest.raises(ValueError):
            training.restore(Snapshot(whole.tensors, whole.facts | change))
    _, other = prepared(REFERENCE, turned(100), 20)
    with pytest.raises(RuntimeError):
        other.restore(whole)


def test_time_is_a_limit_and_the_rate_falls_with_it() -> None:
    _, training = prepared(NETWORK, turned(300), 20)
    rates = list[float]()
    fit(training, Clock(Budget(cpu_seconds=0.3)), None, lambda row: rates.append(row["rate"]) is None)
    assert len(rates) > 12 and rates[-1] < 0.3 * max(rates) and training.share > 0.7
    done = training.done
    fit(training, Clock(Budget()), int(training.epochs), lambda row: True)
    assert training.done == done  # there was nothing left


def test_a_loss_that_is_no_number_stops_the_training() -> None:
    _, training = prepared(NETWORK, turned(100), 20)
    for value in training.net.parameters():
        value.data.fill_(float("nan"))
    with pytest.raises(UsageError, match="lower learning_rate"):
        training.step(0.0)


def test_batches_hold_every_example_once() -> None:
    rng = np.random.default_rng(3)
    sizes = [(int(a), int(b)) for a, b in rng.integers(1, 40, size=(500, 2))] + [(90, 2), (3, 70)]
    examples = [Example(np.ones(s), np.ones(t), np.ones(t)) for s, t in sizes]
    for drawn in (None, np.random.default_rng(0)):
        plan = batches_of(examples, 128, drawn)
        assert sorted(np.concatenate(plan).tolist()) == list(range(502))
        for rows in plan:
            wide, long = (max(sizes[row][side] for row in rows) for side in (1, 0))
            assert len(rows) == 1 or (len(rows) * wide <= 128 and len(rows) * long <= 3 * 128)
    one, same, other = (batches_of(examples, 128, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=False))


# ------------------------------------------------------------------------------------------------ texts


def test_pieces_are_the_same_each_time_and_hold_the_special_tokens() -> None:
    from sysgym.text.catalogue import load_model

    found = [f"the {a} sees a {b}" for a in words(60) for b in ("dog", "house", "man")]
    pairs = Pairs(found, found[::-1])
    one, again = (make_vocabulary("sentencepiece", pairs, 80, True) for _ in range(2))
    assert one.content == again.content and one.size == 80
    assert [one.piece(i) for i in range(5)] == ["<pad>", "<s>", "</s>", "<unk>", "<sep>"]
    assert one.decode([4, *one.encode("the dog <sep>"), 2]).startswith("the dog")
    assert separator_of("sentencepiece") == 4 and 4 not in one.encode("<sep>")
    assert load_model("translit").source.size != one.size
    letters = make_vocabulary("characters", pairs, 0, True)
    assert letters.piece(separator_of("characters")) == "<sep>" and letters.decode(letters.encode("a dog")) == "a dog"


@pytest.mark.parametrize(("pieces", "sentence"), [(5000, "too little text .* lower pieces to"), (8, "raise pieces")])
def test_pieces_must_fit_the_text(pieces: int, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make_vocabulary("sentencepiece", Pairs(words(40), words(40)), pieces, False)


def test_files_are_read_and_refused_in_a_sentence() -> None:
    assert two_files(("a", "b"), ("x y\r\nz\n", "1\n2")) == Pairs(["x y", "z"], ["1", "2"])
    assert tab_separated("f", "topic\tx\t1\ntopic\ty\t2\n", 3) == Pairs(["x", "y"], ["1", "2"])
    for call, sentence in (
        (lambda: two_files(("a", "b"), ("x\ny\n", "1\n")), "a has 2 lines and b has 1"),
        (lambda: lines_of("a", "x\n \ny\n"), "a, line 2 is empty"),
        (lambda: lines_of("a", ""), "a, line 1 is empty"),
        (lambda: tab_separated("f", "x\t1\nx 1\n"), "f, line 2 has 1 columns, expected 2"),
        (lambda: tab_separated("f", "x\t \n"), "line 1 has an empty column"),
        (lambda: held_out(Pairs(["x"] * 9, ["y"] * 9)), "no two different pairs"),
    ):
        with pytest.raises(UsageError, match=sentence):
            call()


def test_no_pair_is_held_out_and_trained_on() -> None:
    pairs = Pairs(["a", "b", "a", "c"] * 30, ["1", "2", "1", "3"] * 30)
    kept, held = held_out(pairs)
    assert held.sources and not {*zip(*kept, strict=True)} & {*zip(*held, strict=True)}
    assert held_out(pairs) == (kept, held)


def test_long_pairs_are_left_out(toy: Callable[..., TextModel]) -> None:
    examples, left_out = examples_of(toy("baseline"), Pairs(["a" * 65, "ab", "a", "b"], ["a", "a" * 12, "b", "a" * 11]))
    assert (len(examples), left_out) == (2, 2)


def test_what_is_wanted_is_checked() -> None:
    found = wanted({"epochs": 3}, {"units": 16, "embedding": 16}, ["dropout=0.1", "cell=lstm", "tied=true"])
    assert (found.setting.epochs, found.setting.dropout) == (3, 0.1)
    assert found.config(9).cell == "lstm" and found.config(9).target_vocabulary == 9
    for arguments, sentence in (
        (({}, {}, ["dropuot=0.1"]), "Did you mean 'dropout'"),
        (({}, {}, ["dropout"]), "key=value"),
        (({}, {}, ["dropout=2"]), "dropout of the training must be a number from 0 to 0.9"),
        (({}, {}, ["cell=grue"]), "cell is 'grue'"),
        (({}, {}, ["units=x"]), "whole number"),
        (({}, {}, ["source_vocabulary=9"]), "unknown option"),
        (({}, {"cells": 3}), "unknown option of the network"),
        (({"unit": 3}, {}), "unknown option of the training"),
        (({}, {"tied": True, "units": 3}), "a tied softmax"),
    ):
        with pytest.raises(UsageError, match=sentence):
            wanted(*arguments)


def test_precision_is_what_was_asked() -> None:
    assert computes_half("bfloat16") and not computes_half("float32")
    assert isinstance(computes_half("auto"), bool)
    assert json.loads(json.dumps(vars(Setting())))["precision"] == "auto"
