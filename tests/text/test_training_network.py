"""The torch network under training equals the numpy network that decodes, to 1e-5 on log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from sysgym.core.problem import Array
from sysgym.text.model import TextModel
from sysgym.text.model_files import built
from sysgym.text.models.config import RecurrentConfig, parameter_count
from sysgym.text.scoring import score
from sysgym_agents.decoding.training.batches import batch_of, batches, examples_of
from sysgym_agents.decoding.training.network import RecurrentNet
from sysgym_agents.decoding.training.setting import Setting
from sysgym_agents.decoding.training.texts import Pairs
from sysgym_agents.decoding.training.training import Training
from sysgym_agents.learning import devices

KINDS = ("baseline", "lstm-dense", "vanilla-decoder-add", "reversed", "unidirectional-lstm", "none-state",
         "none-input", "self-attention", "reference")  # fmt: skip
TEXTS = ("ab", "abcdefghabcdefghabcdefghab", "h", "cabbage", "feed", "gggggggg")
ANSWERS = ("ba", "hgfedcba", "abcdefghabc", "e", "deaf", "bad")


def network_of(model: TextModel) -> RecurrentNet:
    net = RecurrentNet(model.config).eval()
    net.put(model.tensors)
    return net


def likely(net: RecurrentNet, sources: list[Array], tokens: Array) -> Array:
    """Log-probabilities (B, T, V) behind the tokens of a padded batch."""
    ids = np.zeros((len(sources), max(map(len, sources))), dtype=np.int64)
    for row, source in enumerate(sources):
        ids[row, : len(source)] = source
    lengths = torch.tensor([len(source) for source in sources])
    with torch.no_grad():
        output = net.outputs(torch.from_numpy(ids), lengths, torch.from_numpy(tokens))
        found: Array = net.logits(output).float().log_softmax(dim=2).numpy()
    return found


def varied(config: RecurrentConfig) -> list[RecurrentConfig]:
    """Configurations that no kind of the other tests has."""
    deep = replace(config, encoder="reversed", encoder_depth=3, encoder_residual="dense", bridge="tanh", cell="lstm")
    fed = replace(config, attention="additive", feed="final", decoder_residual="dense", attention_values=True)
    own = replace(config, attention="none", feed="final", self_attention=True, decoder_depth=3, recurrent_bias=True)
    plain = replace(config, cell="vanilla", encoder="unidirectional", encoder_depth=1, decoder_cell="gru")
    return [deep, fed, own, plain]


@pytest.mark.parametrize("kind", KINDS)
def test_torch_equals_numpy_with_forced_targets(
    toy: Callable[..., TextModel], kind: str, sentences: list[Array]
) -> None:
    """Batches of sources of 1 to 30 tokens, so of padding on which nothing may depend."""
    model = toy(kind, spread=0.25)
    agrees(model, sentences)
    net = network_of(model)
    assert sum(value.numel() for value in net.parameters()) == parameter_count(model.config)
    assert all(np.array_equal(net.tensors()[name], value) for name, value in model.tensors.items())


def test_further_options(toy: Callable[..., TextModel], sentences: list[Array]) -> None:
    model = toy("baseline")
    for config in varied(model.config):
        rng = np.random.default_rng(0)
        tensors = {n: (rng.standard_normal(s) * 0.25).astype(np.float32) for n, s in config.shapes().items()}
        agrees(built("further", config, tensors, (model.source, model.target)), sentences)


def agrees(model: TextModel, sentences: list[Array]) -> None:
    tokens = np.random.default_rng(1).integers(3, model.vocabulary - 1, size=(len(sentences), 9))
    memory, state, first = model.begin(sentences)
    tokens[:, 0] = first
    expected = list[Array]()
    for t in range(tokens.shape[1]):
        logp, _, state = model.network.step(memory, state, tokens[:, t])
        expected.append(logp)
    found = likely(network_of(model), [model.read(source) for source in sentences], tokens)
    assert np.allclose(found, np.stack(expected, axis=1), atol=1e-5)
    alone = likely(network_of(model), [model.read(sentences[1])], tokens[1:2])
    assert np.allclose(found[1], alone[0], atol=1e-5)


@pytest.mark.parametrize("segment", [0, 3])
@pytest.mark.parametrize("kind", ["reference", "reversed"])
def test_the_loss_is_what_scoring_says(toy: Callable[..., TextModel], kind: str, segment: int) -> None:
    """Perplexity on examples, of segments with the prefix encoded again among them, and log P by the numpy engine."""
    model = toy(kind, separator=3 if segment else -1, segment=segment)
    model = replace(model, max_length=30)
    examples, left_out = examples_of(model, Pairs(list(TEXTS), list(ANSWERS)))
    assert not left_out and len(examples) == (sum(-(-(len(a) + 1) // segment) for a in ANSWERS) if segment else 6)
    training = Training(model.config, Setting(batch=24, dropout=0.5), 0, examples, examples)
    training.net.put(model.tensors)
    logp = score(model, [model.ids(text) for text in TEXTS], [model.target.encode(text) for text in ANSWERS])
    assert np.log(training.perplexity_of(examples)) == pytest.approx(-logp.sum() / sum(len(a) + 1 for a in ANSWERS))


def test_a_segment_is_read_with_what_came_before(toy: Callable[..., TextModel]) -> None:
    model = toy("reference", separator=3, segment=3)
    (first, second), _ = examples_of(model, Pairs(["bc"], ["defg"]))
    b, c, d, e, f, g = (int(model.ids(letter)[0]) for letter in "bcdefg")
    assert [part.tolist() for part in first] == [[b, c, 3, 2], [1, d, e], [d, e, f]]
    assert [part.tolist() for part in second] == [[b, c, 3, d, e, f, 2], [f, g], [g, 2]]


def test_a_batch_has_all_that_its_examples_have(toy: Callable[..., TextModel]) -> None:
    examples, _ = examples_of(
        toy("reference"), Pairs(list(TEXTS[:1] + TEXTS[2:]), list(ANSWERS[:1] + ANSWERS[2:4] * 2))
    )
    batch = batch_of(examples, np.array([0, 2]))
    assert batch.lengths.tolist() == [3, 8] and batch.real.sum(dim=1).tolist() == [3, 2]
    assert batch.write.tolist() == [*examples[0].write, *examples[2].write]
    assert sum(len(each.write) for each in batches(examples, 4)) == sum(len(each.write) for each in examples)


@pytest.mark.parametrize("kind", ["baseline", "lstm-dense", "reversed", "reference", "self-attention"])
def test_bfloat16_is_near(toy: Callable[..., TextModel], kind: str, sentences: list[Array]) -> None:
    model = toy(kind, spread=0.1)
    tokens = np.random.default_rng(1).integers(3, 10, size=(len(sentences), 5))
    sources = [model.read(source) for source in sentences]
    exact = likely(network_of(model), sources, tokens)
    with torch.autocast("cpu", torch.bfloat16):
        assert np.allclose(likely(network_of(model), sources, tokens), exact, atol=0.05)


@pytest.mark.parametrize(
    "kind", ["lstm-dense", "none-input", "self-attention", pytest.param("baseline", marks=pytest.mark.slow)]
)
def test_trainings_take_the_same_course_on_another_device(toy: Callable[..., TextModel], kind: str, gpu: None) -> None:
    """Losses and weights, with dropout that is drawn on the CPU; what is kept of it goes on there."""
    model = toy(kind)
    examples, _ = examples_of(model, Pairs(list(TEXTS), list(ANSWERS)))
    setting, found = Setting(vocabulary="characters", precision="float32", batch=64), []
    for config in [model.config, *(varied(model.config) if kind == "baseline" else [])]:
        for wish in ("cpu", "cuda"):
            with devices.using(wish):
                training = Training(config, setting, 3, examples, examples[:2])
                losses = [training.step(0.1 * step)["loss"] for step in range(3)]
                again = Training(config, setting, 3, examples, examples[:2])
                again.restore(training.snapshot())
                found.append((losses, again.step(0.5)["loss"], again.validate(), again.net.tensors()))
        (losses, last, perplexity, weights), theirs = found[-2:]
        assert [*theirs[0], *theirs[1:3]] == pytest.approx([*losses, last, perplexity], rel=1e-4)
        for name, value in weights.items():
            np.testing.assert_allclose(theirs[3][name], value, rtol=1e-3, atol=1e-4, err_msg=name)
