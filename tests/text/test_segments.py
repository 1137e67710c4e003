"""Shao's stochastic beam search: D different tokens, B of B D candidates, reranking once a segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from toy_texts import DRAWS, LIMIT, SOURCE, leaves, within

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.hypotheses import Begin
from sysgym.text.model import TextModel
from sysgym.text.sampling import Draw, sample
from sysgym.text.scoring import attentions, choose, mmi, mmi_scores, score, score_parts
from sysgym.text.search import Beam, greedy
from sysgym.text.segments import (
    Stochastic,
    Written,
    _without_replacement,
    by_logp,
    by_mmi,
    candidate_segments,
    committed,
    resumed,
    segment_beams,
    segment_samples,
    stochastic_beams,
)

GLIMPSE = {"source_end": True, "separator": 3, "segment": 4}


def glimpse(toy: Callable[..., TextModel]) -> TextModel:
    return toy("reference", seed=4, spread=0.7, **GLIMPSE)


def test_different_tokens_of_each_hypothesis() -> None:
    """D different ones, whose first follows the model and whose first two are those of Plackett and Luce."""
    share = np.array([0.5, 0.25, 0.15, 0.07, 0.03])
    rows = np.arange(DRAWS)
    logp = np.tile(np.log(share).astype(np.float32), (DRAWS, 1))
    tokens, found = _without_replacement(logp, 3, 7, (rows, rows * 0, rows * 0))
    assert all(len(set(row)) == 3 for row in tokens.tolist())
    assert np.array_equal(found, np.take_along_axis(logp, tokens, axis=1))
    pairs = Counter(zip(tokens[:, 0].tolist(), tokens[:, 1].tolist(), strict=True))
    for (first, second), count in pairs.items():
        assert within(count, share[first] * share[second] / (1 - share[first]))
    tokens, found = _without_replacement(logp[:2], 8, 7, (rows[:2], rows[:2], rows[:2]))
    assert np.isneginf(found[:, 5:]).all() and np.isfinite(found[:, :5]).all()


def test_candidates_are_sampled_by_their_probability(toy: Callable[..., TextModel]) -> None:
    """With D = V a first step chooses B = 2 of all tokens without replacement."""
    model = toy("baseline", letters="a", seed=3)
    begin = Begin(*model.begin([SOURCE] * DRAWS))
    rows = np.arange(DRAWS)
    found = segment_samples(model, begin, 1, Stochastic(width=2, samples=model.vocabulary), (rows, rows * 0))
    memory, state, first = model.begin([SOURCE])
    p = np.exp(model.network.step(memory, state, first)[0][0].astype(float))
    counts = Counter(np.where(found.lengths[:, :, None] > 0, found.tokens, 2)[:, :, 0].ravel().tolist())
    for i in range(model.vocabulary):
        assert within(counts[i], p[i] + sum(p[j] * p[i] / (1 - p[j]) for j in range(len(p)) if j != i))


def test_one_hypothesis_with_one_token_is_plain_sampling(toy: Callable[..., TextModel]) -> None:
    model = toy("reference", letters="a", seed=3)
    every, logp, ended = leaves(model)
    rows = np.arange(DRAWS)
    begin = Begin(*model.begin([SOURCE] * DRAWS))
    found = segment_samples(model, begin, LIMIT, Stochastic(width=1, samples=1), (rows, rows * 0))
    counts = Counter((tuple(found.best(row).tolist()), bool(found.ended[row, 0])) for row in range(DRAWS))
    for text, value, over in zip(every, logp, ended, strict=True):
        assert within(counts[text, bool(over)], float(np.exp(value))), text


@pytest.mark.parametrize("kind", ["plain", "glimpse"])
def test_segments_are_committed_one_by_one(toy: Callable[..., TextModel], sentences: list[Array], kind: str) -> None:
    """Reranked once in H tokens; what is written is what the model scores; the same alone as in a batch."""
    model = glimpse(toy) if kind == "glimpse" else toy("self-attention", seed=4)
    how, calls = Stochastic(width=3, samples=4, segment=4, seed=2), list[int]()
    plain = by_logp()

    def counted(sources, written, there):  # type: ignore[no-untyped-def]
        calls.append(len(sources))
        assert all(len(each.tokens) == 4 * (len(calls) - 1) for each in written)
        assert all(len(part) <= 4 for each in there for part in each.parts)
        return plain(sources, written, there)

    whole, forwards = stochastic_beams(model, sentences, how, counted, max_length=10)
    assert len(calls) <= 3 and calls[0] == len(sentences) and (forwards > 0).all()
    assert max(len(each.tokens) for each in whole) <= 10
    for row, (source, each) in enumerate(zip(sentences, whole, strict=True)):
        assert abs(score(model, [source], [each.tokens], end=each.ended)[0] - each.logp) < 1e-4
        if row % 5 == 0:
            numbers = np.array([row])
            alone, steps = stochastic_beams(model, [source], how, by_logp(), sentences=numbers, max_length=10)
            assert np.array_equal(alone[0].tokens, each.tokens) and alone[0].logp == each.logp
            assert steps[0] == forwards[row]
    other, _ = stochastic_beams(model, sentences, Stochastic(width=3, samples=4, segment=4, seed=3), by_logp())
    assert any(not np.array_equal(a.tokens, b.tokens) for a, b in zip(other, whole, strict=True))


def test_candidates_depend_on_seed_sentence_and_place_only(
    toy: Callable[..., TextModel], sentences: list[Array]
) -> None:
    model, how = glimpse(toy), Stochastic(width=4, samples=5, segment=4)
    written = [Written(np.array([4, 5, 6, 4]), False, 0.0), Written(np.zeros(0, dtype=np.int64), False, 0.0)]
    both, _ = candidate_segments(model, sentences[:2], written, how, np.array([8, 9]))
    one, _ = candidate_segments(model, sentences[1:2], written[1:], how, np.array([9]))
    other, _ = candidate_segments(model, sentences[1:2], written[1:], how, np.array([8]))
    assert all(np.array_equal(a, b) for a, b in zip(both[1].parts, one[0].parts, strict=True))
    assert np.array_equal(both[1].logp, one[0].logp) and not np.array_equal(other[0].logp, one[0].logp)
    for place, part in enumerate(both[0].parts):
        tokens = np.append(part, 2) if both[0].ended[place] else part
        expected = score_parts(model, [(sentences[0], written[0].tokens, tokens)])[0]
        assert abs(expected - both[0].logp[place]) < 1e-4


def test_segments_without_a_glimpse_go_on_where_they_stood(
    toy: Callable[..., TextModel], sentences: list[Array]
) -> None:
    """A model that never encodes its answer is greedy in segments as in one go, and counts what it repeats."""
    model = toy("self-attention")
    whole = greedy(model, sentences)
    parts, forwards = segment_beams(model, sentences, Beam(width=1, alpha=0.0), segment=5)
    for row, each in enumerate(parts):
        assert np.array_equal(each.tokens, whole.best(row)) and each.ended == bool(whole.ended[row, 0])
        assert abs(each.logp - whole.logp[row, 0]) < 1e-9
        assert forwards[row] == whole.forwards[row]
    bare = [each._replace(state=None) for each in parts]
    begin, steps = resumed(model, sentences, bare)
    assert steps.tolist() == [len(each.tokens) for each in parts]
    assert begin.state.position.tolist() == steps.tolist()


def test_mmi_is_a_log_share(toy: Callable[..., TextModel], sentences: list[Array]) -> None:
    """S <= 0, is 0 without others, sums to 1 over the sources of Phi, and counts X once where Phi holds it."""
    assert mmi(np.array([-1e5]), np.zeros((1, 0)))[0] == 0.0
    assert abs(mmi(np.array([-2000.0]), np.array([[-2000.0, -3000.0]]))[0] + np.log(2)) < 1e-12
    model = toy("baseline", seed=1, spread=0.9)
    phi, text = sentences[:5], np.array([3, 7, 9])
    found = mmi_scores(model, phi, [text] * 5, phi)
    assert (found <= 0).all() and abs(np.exp(found).sum() - 1) < 1e-9
    logp = score(model, phi, [text] * 5)
    assert np.allclose(found, logp - np.log(np.exp(logp - logp.max()).sum()) - logp.max())
    outside = mmi_scores(model, sentences[6:7], [text], phi)
    alone = score(model, sentences[6:7], [text])
    assert np.allclose(outside, mmi(alone, logp[None]))


def test_reranking_by_mmi_chooses_the_greatest(toy: Callable[..., TextModel], sentences: list[Array]) -> None:
    model = glimpse(toy)
    rerank, phi = by_mmi(model, sentences[:4]), sentences[:4]
    written = [Written(np.zeros(0, dtype=np.int64), False, 0.0)] * 3
    there, _ = candidate_segments(model, sentences[4:7], written, Stochastic(width=4, segment=4), np.arange(3))
    for source, each, found in zip(sentences[4:7], there, rerank(sentences[4:7], written, there), strict=True):
        for place, part in enumerate(each.parts):
            expected = mmi_scores(model, [source], [part], phi, end=bool(each.ended[place]))[0]
            assert abs(found[place] - expected) < 1e-9


@pytest.mark.parametrize("kind", ["plain", "glimpse"])
def test_reranking_remembers_what_is_written(toy: Callable[..., TextModel], sentences: list[Array], kind: str) -> None:
    """The second segment has the same scores whether the first was seen by the same reranking or not."""
    model, how = glimpse(toy) if kind == "glimpse" else toy("self-attention"), Stochastic(width=3, segment=4)
    written, numbers = [Written(np.zeros(0, dtype=np.int64), False, 0.0)] * 4, np.arange(4)
    seen, phi = by_mmi(model, sentences[:4]), sentences[:4]
    there, _ = candidate_segments(model, sentences[:4], written, how, numbers)
    seen(sentences[:4], written, there)
    on = [(s, n) for s in range(4) for n in range(len(there[s].parts)) if not there[s].ended[n]]
    chosen = [sentences[s] for s, _ in on]
    after = [committed(written[s], there[s], n) for s, n in on]
    then, _ = candidate_segments(model, chosen, after, how, numbers[[s for s, _ in on]])
    both = zip(seen(chosen, after, then), by_mmi(model, phi)(chosen, after, then), strict=True)
    for place, (old, new) in enumerate(both):
        assert np.array_equal(old, new)
        for n, part in enumerate(then[place].parts):
            whole = np.concatenate([after[place].tokens, part])
            expected = mmi_scores(model, chosen[place : place + 1], [whole], phi, end=bool(then[place].ended[n]))[0]
            assert expected == old[n]


def test_parts_behind_a_prefix_sum_to_the_whole(every: TextModel, sentences: list[Array]) -> None:
    text = np.random.default_rng(0).integers(3, 11, size=9)
    cuts = [(text[:first], text[first:end]) for first, end in ((0, 4), (4, 5), (5, 9))]
    for source in sentences[:3]:
        parts = score_parts(every, [(source, *cut) for cut in cuts])
        assert abs(parts.sum() - score(every, [source], [text], end=False)[0]) < 1e-9
        read, attention = attentions(every, source, text)[0]
        assert attention.shape == (9, len(read)) and read[: len(source)].tolist() == source.tolist()
        shares = attention.sum(axis=1)
        assert np.allclose(shares, 0 if getattr(every.config, "attention", "") == "none" else 1, atol=1e-5)
    assert [part[1].shape[0] for part in attentions(every, source, text[:0])] == [0]


def test_n_choose_k(toy: Callable[..., TextModel], sentences: list[Array]) -> None:
    """Texts that a model wrote for a source are told from others' better than by chance; K = N always holds."""
    model = toy("reference", seed=1, spread=1.2)
    found = sample(model, sentences, Draw(seed=1))
    targets = [found.best(row) for row in range(len(sentences))]
    wrong = [[targets[row - 1], targets[row - 2], targets[row - 3]] for row in range(len(targets))]
    assert choose(model, sentences, targets, wrong, sentences, best=4) == 1.0
    shares = [choose(model, sentences, targets, wrong, sentences, best=k) for k in (1, 2, 3)]
    assert shares == sorted(shares)
    with pytest.raises(UsageError, match="K of at least 1"):
        choose(model, sentences, targets, wrong, sentences, best=0)


def test_scores_are_those_of_single_texts(every: TextModel, sentences: list[Array]) -> None:
    rng = np.random.default_rng(3)
    targets = [rng.integers(3, 11, size=size) for size in range(len(sentences))]
    whole = score(every, sentences, targets)
    assert all(score(every, [s], [t])[0] == found for s, t, found in zip(sentences, targets, whole, strict=True))
    with pytest.raises(UsageError, match="vocabulary of 12"):
        score(every, sentences[:1], [np.array([12])])


def test_other_segments_than_the_models_are_told(toy: Callable[..., TextModel], sentences: list[Array]) -> None:
    model = glimpse(toy)
    with pytest.raises(UsageError, match="segments of 4 tokens, so H cannot be 10"):
        stochastic_beams(model, sentences, Stochastic(), by_logp())
    with pytest.raises(UsageError, match="H cannot be 5"):
        segment_beams(model, sentences, Beam(), segment=5)
    with pytest.raises(UsageError, match="D is 1 to 1024"):
        candidate_segments(model, sentences[:1], [Written(np.zeros(0, dtype=np.int64), False, 0.0)],
                           Stochastic(samples=0), np.array([0]))  # fmt: skip


def test_a_state_is_carried_from_segment_to_segment(toy: Callable[..., TextModel], sentences: list[Array]) -> None:
    """Going on from a candidate's state has the same bits as running over what is written, in no step."""
    model, how = toy("self-attention"), Stochastic(width=3, samples=4, segment=4)
    empty = [Written(np.zeros(0, dtype=np.int64), False, 0.0)] * len(sentences)
    there, first = candidate_segments(model, sentences, empty, how, np.arange(len(sentences)))
    on = [(row, int(np.flatnonzero(~each.ended)[-1])) for row, each in enumerate(there) if not each.ended.all()]
    assert len(on) > 3
    chosen, numbers = [sentences[row] for row, _ in on], np.array([row for row, _ in on])
    carried = [committed(empty[row], there[row], place) for row, place in on]
    bare = [each._replace(state=None) for each in carried]
    found, steps = candidate_segments(model, chosen, carried, how, numbers)
    again, more = candidate_segments(model, chosen, bare, how, numbers)
    assert np.array_equal(more - steps, np.full(len(on), 4)) and (first > 0).all()
    for one, other in zip(found, again, strict=True):
        assert np.array_equal(one.logp, other.logp)
        assert all(np.array_equal(a, b) for a, b in zip(one.parts, other.parts, strict=True))
