"""Networks: the same bits alone and in a batch, states that can be branched, and other implementations' numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array
from sysgym.text.catalogue import load_model
from sysgym.text.model import TextModel
from sysgym.text.models import cells, recurrent, transformer
from sysgym.text.models.interface import Memory, State
from sysgym.text.models.linear import linear, product

Steps = list[tuple[Array, Array, Array]]


def forced(model: TextModel, sources: list[Array], tokens: Array) -> Steps:
    """Log-probabilities, attention and output of every step when tokens (T, N) are written."""
    memory, state, last = model.begin(sources)
    found = []
    for step in range(len(tokens) + 1):
        logp, attention, state = model.network.step(memory, state, last)
        found.append((logp, attention, state.output))
        last = tokens[step] if step < len(tokens) else last
    return found


def written(model: TextModel, count: int, steps: int = 11) -> Array:
    return np.random.default_rng(1).integers(3, model.vocabulary - 1, size=(steps, count))


def same(batch: Steps, alone: Steps, row: int, length: int) -> bool:
    return all(
        np.array_equal(a[0][row], b[0][0]) and np.array_equal(a[1][row, :length], b[1][0, :length])
        and np.array_equal(a[2][row], b[2][0]) for a, b in zip(batch, alone, strict=True)
    )  # fmt: skip


def test_alone_and_in_any_batch_the_bits_are_the_same(every: TextModel, sentences: list[Array]) -> None:
    tokens = written(every, len(sentences))
    whole = forced(every, sentences, tokens)
    turned = forced(every, sentences[::-1], tokens[:, ::-1])
    for row, source in enumerate(sentences):
        alone = forced(every, [source], tokens[:, row : row + 1])
        length = len(every.read(source))
        assert same(whole, alone, row, length), row
        assert same(turned, alone, len(sentences) - 1 - row, length), row
    assert np.isfinite(whole[-1][0]).all() and np.allclose(np.exp(whole[-1][0]).sum(axis=1), 1, atol=1e-5)


def test_the_public_model_too(decoding_data: object) -> None:
    model = load_model("multi30k")
    texts = [
        "a dog runs .",
        "Two men in black suits and a woman with a red hat are talking near the old bridge.",
        "yes",
    ]
    sources = [model.ids(text) for text in texts * 7]
    tokens = written(model, len(sources), 5)
    whole = forced(model, sources, tokens)
    for row in (0, 1, 2, 19):
        alone = forced(model, [sources[row]], tokens[:, row : row + 1])
        assert same(whole, alone, row, len(sources[row]) + 1)


def test_a_state_is_not_changed_by_steps(every: TextModel, sentences: list[Array]) -> None:
    """Branches of one state know nothing of each other, in whatever order they are stepped."""
    memory, state, first = every.begin(sentences)
    rng = np.random.default_rng(2)
    for _ in range(9):
        _, _, state = every.network.step(memory, state, first)
        first = rng.integers(3, 11, size=len(sentences))
    one, other = rng.integers(3, 11, size=(2, len(sentences)))
    expected = every.network.step(memory, state, one)
    after_other = every.network.step(memory, state, other)[2]
    again = every.network.step(memory, state, one)
    assert np.array_equal(expected[0], again[0])
    deeper = every.network.step(memory, expected[2], other)[0]
    every.network.step(memory, after_other, one)
    assert np.array_equal(deeper, every.network.step(memory, again[2], other)[0])


def test_rows_are_gathered_and_joined(every: TextModel, sentences: list[Array]) -> None:
    """Hypotheses of any positions stand side by side: what a vector environment does when episodes end."""
    memory, state, first = every.begin(sentences[:4])
    tokens = written(every, 4, 10)
    states = [state]
    for step in range(10):
        states.append(every.network.step(memory, states[-1], first if step == 0 else tokens[step - 1])[2])
    mixed = State.join([states[9].take(np.array([2, 2])), states[1].take(np.array([0])), states[4].take(np.array([3]))])
    last = np.array([tokens[8, 2], 5, tokens[0, 0], tokens[3, 3]])
    found = every.network.step(memory, mixed, last)[0]
    for row, (step, source, token) in enumerate([(9, 2, last[0]), (9, 2, 5), (1, 0, last[2]), (4, 3, last[3])]):
        alone = every.network.step(memory, states[step].take(np.array([source])), np.array([token]))[0]
        assert np.array_equal(found[row], alone[0]), row


def test_memories_are_joined(every: TextModel, sentences: list[Array]) -> None:
    short, long = every.begin(sentences[:2])[0], every.begin(sentences[2:4])[0]
    joint, whole = Memory.join([short, long]), every.begin(sentences[:4])[0]
    tokens = np.full(4, every.special.begin)
    found = every.network.step(joint, every.network.start(joint), tokens)[0]
    assert np.array_equal(found, every.network.step(whole, every.network.start(whole), tokens)[0])
    last = whole.take(np.array([3]))
    assert np.array_equal(found[3:], every.network.step(last, every.network.start(last), tokens[:1])[0])


def test_what_a_network_cannot_read_is_told(every: TextModel) -> None:
    with pytest.raises(UsageError, match="nothing to decode"):
        every.network.encode([np.zeros(0, dtype=np.int64)])
    with pytest.raises(UsageError, match="the token 99"):
        every.network.encode([np.array([99])])
    with pytest.raises(UsageError, match="no segments"):
        every.begin([np.array([3])], [np.array([4])])


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 3), (192, 4000), (64, 601), (33, 1300)])
def test_products_are_products(inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((outputs, inputs)), rng.standard_normal(outputs)
    layer = linear(weight.astype(np.float32), bias.astype(np.float32))
    x = rng.standard_normal((21, inputs)).astype(np.float32)
    found = product(x, layer)
    assert np.allclose(found, x @ weight.T + bias, atol=1e-4)
    for rows in (slice(0, 1), slice(3, 20), slice(20, 21)):
        assert np.array_equal(product(x[rows], layer), found[rows])
    assert product(x[:0], layer).shape == (0, outputs)


WITHOUT_GOLDENS = ("baseline", "lstm-dense", "vanilla-decoder-add", "reversed", "unidirectional-lstm", "none-state",
                   "none-input", "self-attention")  # fmt: skip


@pytest.mark.parametrize("kind", WITHOUT_GOLDENS)
def test_a_recurrent_network_equals_pytorchs_cells(
    toy: Callable[..., TextModel], kind: str, sentences: list[Array]
) -> None:
    """Encoder and decoder written with torch.nn's cells, in float64 and without batches."""
    from torch_recurrent import TorchRecurrent

    model = toy(kind)
    reference = TorchRecurrent(model)
    tokens = written(model, 3, 6)
    found = forced(model, sentences[:3], tokens)
    for row in range(3):
        expected = reference.log_probabilities(model.read(sentences[row]), [1, *tokens[:, row]])
        assert np.allclose([step[0][row] for step in found], expected, atol=1e-5)


def test_the_transformer_equals_plain_formulas_in_float64() -> None:
    """The packaged model against an encoder and decoder without cache, batch or heads in a kernel."""
    from plain_transformer import log_probabilities

    model = load_model("translit")
    for name, tokens in (("آب", "ab"), ("آتزمون", "atzmon"), ("محمد", "mohammed")):
        source, target = model.ids(name), model.target.encode(tokens)
        found = forced(model, [source], target[:, None])
        expected = log_probabilities(model.tensors, source, np.array([1, *target]), layers=6, heads=8)
        assert np.allclose([step[0][0] for step in found], expected, atol=2e-5)


@pytest.mark.parametrize("name", ["translit", "dialogue"])
def test_a_step_multiplies_no_more_rows_at_the_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is never computed again: every step puts each hypothesis through each layer once."""
    rows: list[int] = []

    def counted(x: Array, layer: Any) -> Array:
        rows.append(len(x))
        return product(x, layer)

    model = load_model(name)
    memory, state, last = model.begin([model.ids(text) for text in ("آب", "آتزمون", "محمد")])
    for module in (cells, recurrent, transformer):
        monkeypatch.setattr(module, "product", counted)
    seen = []
    for _ in range(30):
        rows.clear()
        logp, _, state = model.network.step(memory, state, last)
        last = logp.argmax(axis=1)
        seen.append(list(rows))
    assert seen[0] and set(seen[0]) == {3} and all(each == seen[0] for each in seen)
