"""Agents decode for Hugging Face's `generate`: small models with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sysgym
from sysgym_agents.core import Budget, make_agent
from sysgym_agents.decoding.huggingface import decoder

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.foreign
IDS = torch.tensor([[5, 6, 7, 8, 9, 2], [9, 10, 11, 2, 0, 0]])
MASK = (IDS != 0).long()
MOST = 14  # new tokens, no more than 1.5 |X| + 10


def bart(**more: Any) -> Any:
    config = transformers.BartConfig(
        vocab_size=30, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=64, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, forced_eos_token_id=None, init_std=1.0, **more,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.BartForConditionalGeneration(config).eval()


def t5() -> Any:
    config = transformers.T5Config(
        vocab_size=30, d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=3, pad_token_id=0,
        eos_token_id=2, decoder_start_token_id=1, attn_implementation="eager", initializer_factor=5.0,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.T5ForConditionalGeneration(config).eval()


def generated(model: Any, **more: Any) -> list[list[int]]:
    """Token ids of both sentences, without padding behind."""
    given = {"attention_mask": MASK, "max_new_tokens": MOST, "do_sample": False, "num_beams": 1, **more}
    return [row[: max(np.flatnonzero(row)) + 1].tolist() for row in model.generate(IDS, **given).numpy()]


@pytest.mark.parametrize("made", [lambda: bart(attn_implementation="eager"), t5], ids=["bart", "t5"])
def test_always_the_first_candidate_is_greedy_search(made: Any) -> None:
    """As `generate` itself decodes, one sentence ending and the other not; its processors count."""
    model, first = made(), decoder(make_agent("first"))
    for more in ({}, {"no_repeat_ngram_size": 1}, {"suppress_tokens": [0, 1, 2]}):
        usual = generated(model, **{"suppress_tokens": [0, 1], **more})
        assert generated(model, **more, custom_generate=first) == usual
        assert len(usual[0]) > 3


class Takes:
    """Takes given candidates in turn, and keeps what it was shown."""

    def __init__(self, choices: list[int]) -> None:
        self.choices, self.shown = choices, list[Any]()

    def solve(self, problem: Any, instance: Any, rng: Any, budget: Budget) -> Any:
        from sysgym.core.env import ProblemEnv

        env = ProblemEnv(problem, instance=instance, obs="dynamic")
        seen, _ = env.reset(seed=0)
        for choice in self.choices:
            self.shown.append(seen)
            seen, _, over, _, _ = env.step(choice)
            if over:
                return env.solution()
        while not over:
            seen, _, over, _, _ = env.step(0)
        return env.solution()


def test_choices_are_applied_and_observations_are_of_the_model() -> None:
    """Candidates are the model's most probable tokens behind what was chosen; attention is its last layer's."""
    model, agent, k = bart(attn_implementation="eager"), Takes([3, 1, 2]), 5
    found = generated(model, custom_generate=decoder(agent, k=k))
    for row, length in enumerate((6, 4)):
        for step, choice in enumerate(agent.choices):
            so_far = torch.tensor([found[row][: step + 1]])
            with torch.no_grad():
                told = model(input_ids=IDS[row : row + 1, :length], decoder_input_ids=so_far, output_attentions=True)
            logp = told.logits[0, -1].log_softmax(dim=0)
            logp[[0, 1]] = -torch.inf
            best = logp.argsort(descending=True)[:k]
            if 2 not in best:
                best[-1] = 2
            seen = agent.shown[3 * row + step]
            assert found[row][step + 1] == best[choice]
            assert np.allclose(seen["candidates"][:, 1], logp[best].exp(), atol=1e-5)
            attention = told.cross_attentions[-1][0, :, -1].mean(dim=0)
            assert np.allclose(seen["dynamic"][:, 0], attention, atol=1e-5) and "state" not in seen


def test_a_trained_kind_of_policy_decodes() -> None:
    """One that learns with `state=False`: of any model the observations are of one form."""
    agent = make_agent("maskable-ppo", layers=0)
    found = generated(bart(attn_implementation="eager"), custom_generate=decoder(agent, k=4))
    assert all(row[0] == 1 and set(row) <= set(range(30)) for row in found)


def test_what_it_cannot_decode_is_a_sentence() -> None:
    first, model = decoder(make_agent("first")), bart(attn_implementation="eager")
    with pytest.raises(sysgym.UsageError, match="padded behind"):
        generated(model, attention_mask=MASK.flip(1), custom_generate=first)
    with pytest.raises(sysgym.UsageError, match="not by MaxTimeCriteria"):
        generated(model, max_time=9.0, custom_generate=first)
    with pytest.raises(sysgym.UsageError, match="one end token"):
        generated(model, eos_token_id=[2, 3], custom_generate=first)
    config = transformers.GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2, eos_token_id=2, pad_token_id=0)
    with pytest.raises(sysgym.UsageError, match="encoder-decoder"):
        transformers.GPT2LMHeadModel(config).generate(IDS[:, :1], custom_generate=first, max_new_tokens=3)
