"""Samplers against exact probabilities, at four standard deviations; their noise does not depend on a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from toy_texts import DRAWS, LIMIT, SOURCE, leaves, listed, within

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.model import TextModel
from sysgym.text.sampling import Draw, conditioned, gumbel_beams, gumbels, redistributed, sample, uniforms
from sysgym.text.scoring import score


def test_uniform_numbers_are_uniform_and_streams_differ() -> None:
    many = np.arange(400)
    found = uniforms(3, (many, many * 0, many * 0), 500)
    assert found.min() > 0 and found.max() < 1 and abs(found.mean() - 0.5) < 4 / np.sqrt(12 * found.size)
    assert abs(np.corrcoef(found[:, :-1].ravel(), found[:, 1:].ravel())[0, 1]) < 4 / np.sqrt(found.size)
    assert abs(np.corrcoef(found[:-1].ravel(), found[1:].ravel())[0, 1]) < 4 / np.sqrt(found.size)
    streams = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)]
    heads = {uniforms(seed, tuple(np.array([p]) for p in at), 2).tobytes() for at in streams for seed in (0, 1)}
    assert len(heads) == 10
    noise = gumbels(1, (many, many, many), 500)
    assert abs(noise.mean() - np.euler_gamma) < 4 * np.pi / np.sqrt(6 * noise.size)


def test_samples_follow_the_model(toy: Callable[..., TextModel]) -> None:
    model = toy("reference", letters="a", seed=3)
    every, logp, ended = leaves(model)
    found = sample(model, [SOURCE] * DRAWS, Draw(seed=5), max_length=LIMIT)
    counts = Counter((tuple(found.best(row).tolist()), bool(found.ended[row, 0])) for row in range(DRAWS))
    known = {(text, bool(over)): value for text, value, over in zip(every, logp, ended, strict=True)}
    for text, value in known.items():
        assert within(counts[text], float(np.exp(value))), text
    assert sum(counts.values()) == sum(counts[text] for text in known)
    row_known = [known[tuple(found.best(row).tolist()), bool(found.ended[row, 0])] for row in range(50)]
    assert np.allclose(found.logp[:50, 0], row_known, atol=1e-5)


DRAWN = [Draw(top=2), Draw(top=3, uniform=True), Draw(temperature=0.5), Draw(top=3, temperature=2.0)]


@pytest.mark.parametrize("draw", DRAWN)
def test_first_tokens_follow_what_is_asked(toy: Callable[..., TextModel], draw: Draw) -> None:
    model = toy("baseline", letters="abc", seed=2)
    memory, state, first = model.begin([SOURCE])
    logp = model.network.step(memory, state, first)[0]
    share = np.exp(redistributed(logp, draw))[0]
    exact = np.exp(logp[0]) ** (1 / draw.temperature)
    kept = np.argsort(-exact)[: draw.top or len(exact)]
    expected = np.zeros(len(exact))
    expected[kept] = 1.0 / len(kept) if draw.uniform else exact[kept] / exact[kept].sum()
    assert np.allclose(share, expected, atol=1e-6)
    found = sample(model, [SOURCE] * DRAWS, draw, max_length=1).tokens[:, 0, 0]
    for token, probability in enumerate(expected):
        assert within(int((found == token).sum()), float(probability))


def test_stochastic_beam_search_samples_without_replacement(toy: Callable[..., TextModel]) -> None:
    """Every text's inclusion among k = 2 is that of Plackett and Luce: p_i + sum over j of p_j p_i / (1 - p_j)."""
    model = toy("reference", letters="a", seed=3)
    every, logp, ended = leaves(model)
    p = np.exp(logp)
    inclusion = [p[i] + sum(p[j] * p[i] / (1 - p[j]) for j in range(len(p)) if j != i) for i in range(len(p))]
    found = gumbel_beams(model, [SOURCE] * DRAWS, 2, seed=9, max_length=LIMIT)
    counts: Counter[tuple[tuple[int, ...], bool]] = Counter()
    for row in range(DRAWS):
        pair = list(zip(listed(found, row), found.ended[row].tolist(), strict=True))
        assert len(set(pair)) == 2
        counts.update(pair)
    for text, over, probability in zip(every, ended, inclusion, strict=True):
        assert within(counts[text, bool(over)], probability), text
    first = Counter((listed(found, row)[0], bool(found.ended[row, 0])) for row in range(DRAWS))
    for text, over, probability in zip(every, ended, p, strict=True):
        assert within(first[text, bool(over)], float(probability)), text


def test_stochastic_beam_search_ranks_its_texts(toy: Callable[..., TextModel], sentences: list[Array]) -> None:
    model = toy("baseline")
    found = gumbel_beams(model, sentences, 5, seed=1)
    assert (np.diff(found.scores, axis=1) <= 0).all() and np.isfinite(found.scores).all()
    for row, source in enumerate(sentences):
        for place in np.flatnonzero(found.ended[row]):
            assert abs(score(model, [source], [found.best(row, int(place))])[0] - found.logp[row, place]) < 1e-4
        texts = set(zip(listed(found, row), found.ended[row].tolist(), strict=True))
        assert len(texts) == 5


def test_conditioned_gumbels_keep_their_order_and_have_the_parents_maximum() -> None:
    raw = np.random.default_rng(0).gumbel(size=(50, 6))
    parent = np.random.default_rng(1).normal(size=50)
    found = conditioned(parent, raw)
    assert np.allclose(found.max(axis=1), parent)
    assert np.array_equal(np.argsort(found, axis=1), np.argsort(raw, axis=1))
    plain = -np.log(np.exp(-parent[:, None]) - np.exp(-raw.max(axis=1, keepdims=True)) + np.exp(-raw))
    assert np.allclose(found, plain)


def test_a_sentence_is_sampled_the_same_alone(every: TextModel, sentences: list[Array]) -> None:
    numbers = np.arange(len(sentences)) + 40
    for run in (lambda s, n: sample(every, s, Draw(seed=3), n), lambda s, n: gumbel_beams(every, s, 3, 3, n)):
        whole = run(sentences, numbers)
        for row in (0, 2, 7):
            alone = run([sentences[row]], numbers[row : row + 1])
            assert np.array_equal(whole.tokens[row, :, : alone.tokens.shape[2]], alone.tokens[0])
            assert np.array_equal(whole.logp[row], alone.logp[0]) and np.array_equal(whole.scores[row], alone.scores[0])
        assert not np.array_equal(run(sentences, numbers[::-1]).logp, whole.logp)


def test_what_cannot_be_sampled_is_told(toy: Callable[..., TextModel], sentences: list[Array]) -> None:
    model = toy("baseline")
    for draw in (Draw(temperature=0.0), Draw(seed=-1), Draw(uniform=True), Draw(top=-1)):
        with pytest.raises(UsageError):
            sample(model, sentences, draw)
    with pytest.raises(UsageError, match="1 to 256 wide"):
        gumbel_beams(model, sentences, 0)
