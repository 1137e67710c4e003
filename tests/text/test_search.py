"""Search against the list of all texts, on models small enough to have one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from toy_texts import END, LIMIT, SOURCE, leaves, listed

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.hypotheses import candidates, length_penalty, top_tokens
from sysgym.text.model import TextModel
from sysgym.text.models.interface import State
from sysgym.text.scoring import score
from sysgym.text.search import Beam, beam_search, beam_trail, greedy


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("convention", ["wu", "length"])
def test_a_beam_that_holds_everything_finds_the_best(
    toy: Callable[..., TextModel], convention: str, alpha: float
) -> None:
    model = toy("baseline", letters="a", seed=3)
    every, logp, ended = leaves(model)
    assert abs(np.exp(logp).sum() - 1) < 1e-5
    lengths = np.array([len(text) for text in every])
    scores = logp / (length_penalty(lengths, alpha) if convention == "wu" else (lengths + ended) ** alpha)
    found = beam_search(model, [SOURCE], Beam(width=85, alpha=alpha, convention=convention), LIMIT)
    best = int(np.argmax(scores))
    assert listed(found)[0] == every[best]
    assert abs(found.scores[0, 0] - scores[best]) < 1e-5 and abs(found.logp[0, 0] - logp[best]) < 1e-5
    known = {text + (END,) * int(over): value for text, value, over in zip(every, scores, ended, strict=True)}
    for place, text in enumerate(listed(found)):
        over = bool(found.ended[0, place])
        assert abs(known[text + (END,) * over] - found.scores[0, place]) < 1e-5
    assert len(listed(found)) == len(set(zip(listed(found), found.ended[0].tolist(), strict=False)))
    if convention == "wu":
        order = np.argsort(-scores, kind="stable")
        assert listed(found) == [every[place] for place in order[:85]]


def test_width_one_is_greedy(every: TextModel, sentences: list[Array]) -> None:
    """With Wu's penalty only without it: it prefers going on to ending, a beam of one included."""
    plain = greedy(every, sentences)
    for convention, alpha in (("wu", 0.0), ("length", 0.0), ("length", 1.0)):
        beam = beam_search(every, sentences, Beam(width=1, alpha=alpha, convention=convention))
        assert np.array_equal(beam.tokens, plain.tokens) and np.array_equal(beam.logp, plain.logp)
        assert np.array_equal(beam.forwards, plain.forwards) and np.array_equal(beam.ended, plain.ended)
    logp = score(every, sentences, [plain.best(row) for row in range(len(sentences))])
    assert np.allclose(logp[plain.ended[:, 0]], plain.logp[plain.ended], atol=1e-12)


@pytest.mark.parametrize("convention", ["wu", "length"])
def test_a_sentence_is_decoded_the_same_alone(every: TextModel, sentences: list[Array], convention: str) -> None:
    beta = 0.2 if convention == "wu" else 0.0
    beam = Beam(width=4, alpha=0.7, beta=beta, convention=convention)
    whole = beam_search(every, sentences, beam)
    for row in (0, 1, 2, 7):
        alone = beam_search(every, [sentences[row]], beam)
        long = alone.tokens.shape[2]
        assert np.array_equal(whole.tokens[row, :, :long], alone.tokens[0])
        assert np.array_equal(whole.scores[row], alone.scores[0]) and np.array_equal(whole.logp[row], alone.logp[0])
        assert whole.forwards[row] == alone.forwards[0]


def test_length_penalty_and_coverage_reorder_what_they_should(toy: Callable[..., TextModel]) -> None:
    """alpha favours long texts; coverage changes scores by beta times the formula of Wu et al., computed here."""
    model = toy("reference", seed=1, spread=0.9)
    sources = [np.array(each) for each in ([3, 4, 5, 6], [7, 3, 9], [10, 10, 4])]
    lengths = [beam_search(model, sources, Beam(width=6, alpha=alpha)).lengths[:, 0].mean() for alpha in (0.0, 3.0)]
    assert lengths[1] >= lengths[0]
    found = beam_search(model, sources, Beam(width=3, alpha=0.5, beta=0.4))
    for row, source in enumerate(sources):
        text = found.best(row)
        memory, state, last = model.begin([source])
        seen = np.zeros(len(source) + 1)
        for token in [*text, END][: len(text) + int(found.ended[row, 0])]:
            _, attention, state = model.network.step(memory, state, last)
            seen, last = seen + attention[0, : len(seen)], np.array([token])
        expected = found.logp[row, 0] / length_penalty(len(text), 0.5) + 0.4 * np.log(np.minimum(seen, 1)).sum()
        assert abs(expected - found.scores[row, 0]) < 1e-5


def test_equal_values_go_to_the_lower_token() -> None:
    values = np.array([[1, 3, 3, 2, 3, -np.inf], [0, 0, 0, 0, 0, 0]], dtype=np.float32)
    tokens, found = top_tokens(values, 4)
    assert tokens.tolist() == [[1, 2, 4, 3], [0, 1, 2, 3]] and found[0].tolist() == [3, 3, 3, 2]
    tokens, found = top_tokens(values[:1], 8)
    assert tokens[0].tolist() == [1, 2, 4, 3, 0, -1, -1, -1] and np.isneginf(found[0, 5:]).all()
    tokens, found = candidates(values.copy(), 2, END)
    assert tokens.tolist() == [[2, 1, 4], [2, 0, 1]] and found[0].tolist() == [3, 3, 3]


def test_forwards_count_hypotheses_that_go_on(toy: Callable[..., TextModel], sentences: list[Array]) -> None:
    """Each text costs a step for each of its tokens and its end: of a greedy search that is all."""
    model = toy("baseline")
    found = greedy(model, sentences)
    assert np.array_equal(found.forwards, (found.lengths + found.ended)[:, 0])
    wide = beam_search(model, sentences, Beam(width=4))
    assert (wide.forwards > found.forwards).all() and (wide.forwards <= 1 + 4 * (model.max_length - 1)).all()


def test_only_hypotheses_that_go_on_are_stepped(toy: Callable[..., TextModel], sentences: list[Array]) -> None:
    """What is counted is what the network computed."""
    model, rows = toy("baseline"), list[int]()
    network = model.network
    plain = network.step

    def counted(memory: object, state: State, tokens: Array) -> object:
        rows.append(len(tokens))
        return plain(memory, state, tokens)  # type: ignore[arg-type]

    network.step = counted  # type: ignore[assignment, method-assign]
    found = beam_search(model, sentences, Beam(width=3, alpha=0.3))
    assert sum(rows) == found.forwards.sum()


@pytest.mark.parametrize("convention", ["wu", "length"])
def test_the_trail_of_a_beam_is_a_tree_of_its_hypotheses(
    toy: Callable[..., TextModel], sentences: list[Array], convention: str
) -> None:
    model, beam = toy("baseline"), Beam(width=4, alpha=0.5, convention=convention)
    whole = beam_search(model, sentences, beam)
    for row, source in enumerate(sentences):
        found, trail = beam_trail(model, source, beam)
        assert np.array_equal(found.scores[0], whole.scores[row])
        assert trail.parents.shape == trail.tokens.shape == trail.logp.shape == (len(trail.logp), 4)
        behind = np.take_along_axis(np.vstack([np.zeros(4), trail.logp[:-1]]), trail.parents, axis=1)
        assert (trail.logp[1:] <= behind[1:] + 1e-12).all() and (trail.parents[0] == 0).all()
        if convention == "wu":
            assert np.array_equal(trail.logp[-1], found.logp[0])
            tokens, slot = [], 0
            for step in reversed(range(len(trail.tokens))):
                tokens.append(int(trail.tokens[step, slot]))
                slot = int(trail.parents[step, slot])
            assert [token for token in tokens[::-1] if token != END] == found.best(0).tolist()


def test_what_cannot_be_searched_is_told(toy: Callable[..., TextModel], sentences: list[Array]) -> None:
    model, glimpse = toy("baseline"), toy("reference", source_end=True, separator=3, segment=4)
    for beam, said in ((Beam(width=0), "1 to 256 wide"), (Beam(alpha=-1.0), "0 to 10"), (Beam(best=9), "no more"),
                       (Beam(beta=0.1, convention="length"), "wu")):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            beam_search(model, sentences, beam)
    with pytest.raises(UsageError, match="nothing to decode"):
        greedy(model, [])
    with pytest.raises(UsageError, match="nothing to decode"):
        greedy(model, sentences, 0)
    with pytest.raises(UsageError, match="every 4 tokens"):
        greedy(glimpse, sentences)
